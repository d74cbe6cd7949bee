/* context.c - contexts: the part of context.h that is not the switch itself.
 *
 * Most of it is for the sanitizers; without them a context is a stack pointer. It refuses to know the machine
 * (switch_*.S). */
#include <runtime/context.h>

#if WF_ASAN
#include <pthread.h>
#endif
#if WF_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#if WF_ASAN
static void find_own_stack(wf_ctx *ctx)
{
    pthread_attr_t attr;
    void *bottom = NULL;
    size_t size = 0;
    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        pthread_attr_getstack(&attr, &bottom, &size);
        pthread_attr_destroy(&attr);
    }
    ctx->bottom = bottom;
    ctx->size = size;
}
#endif

#if WF_ASAN || WF_TSAN
void wf_ctx_init_thread(wf_ctx *ctx)
{
    *ctx = (wf_ctx){0};
#if WF_ASAN
    find_own_stack(ctx);
#endif
#if WF_TSAN
    ctx->fiber = __tsan_get_current_fiber();
#endif
}
#endif

void wf_ctx_init(wf_ctx *ctx, void *stack_base, size_t stack_size, void *stack_top, void (*entry)(void *), void *arg)
{
    assert((char *)stack_top > (char *)stack_base && (char *)stack_top <= (char *)stack_base + stack_size);
    (void)stack_base, (void)stack_size;
    *ctx = (wf_ctx){.sp = wf_switch_prepare(stack_top, entry, arg)};
#if WF_ASAN
    ctx->bottom = stack_base;
    ctx->size = stack_size;
#endif
#if WF_TSAN
    ctx->fiber = __tsan_create_fiber(0);
#endif
}

void wf_ctx_destroy(wf_ctx *ctx)
{
    (void)ctx;
#if WF_TSAN
    __tsan_destroy_fiber(ctx->fiber);
    ctx->fiber = NULL;
#endif
}

#if WF_TSAN
/* Flags 0: what @from did happens before what @to does next, as it does on one thread. */
WF_UNINSTRUMENTED void *wf_ctx_switch_tsan(wf_ctx *from, wf_ctx *to, void *value)
{
    __tsan_switch_to_fiber(to->fiber, 0);
    return wf_switch(&from->sp, to->sp, value);
}
#endif
