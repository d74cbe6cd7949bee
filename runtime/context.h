/* context.h - the machine switch: leave one stack, go on on another.
 *
 * Owns what a suspended execution is to the CPU (a stack pointer; the registers lie on the stack itself) and what
 * AddressSanitizer and ThreadSanitizer want to be told about it. Knows nothing of where stacks come from (stack.h), of
 * strands, or of who runs next.
 *
 * Life of a context: wf_ctx_init, a first wf_ctx_switch to it, wf_ctx_entered as the first thing its entry function
 * does, any number of switches, one wf_ctx_switch_final away from it, wf_ctx_destroy. One that never ran may be
 * destroyed as well. A context may be resumed by another thread than the one that left it, if leaving happens before
 * resuming: nobody may be told of a context before the switch away from it is over, so the one switched *to* publishes
 * it. */
#ifndef WF_CONTEXT_H
#define WF_CONTEXT_H

#include <base/common.h>

/* Assembly where there is some for this machine, unless the build asks for ucontext. The .S files test the same
 * condition. */
#ifndef WF_SWITCH_UCONTEXT
#if defined(__ELF__) && defined(__LP64__) && (defined(__x86_64__) || defined(__aarch64__))
#define WF_SWITCH_UCONTEXT 0
#else
#define WF_SWITCH_UCONTEXT 1
#endif
#endif

#if WF_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

typedef struct wf_ctx {
    void *sp; /* where it was left; meaningless while it runs */
#if WF_ASAN
    void *fake_stack;   /* AddressSanitizer's, while it is suspended */
    const void *bottom; /* lowest address of its stack */
    size_t size;        /* bytes of stack above bottom */
#endif
#if WF_TSAN
    void *fiber; /* ThreadSanitizer's */
#endif
} wf_ctx;

/**
 * Save the callee-saved integer registers on this stack, put the stack pointer in *@save_sp, go on at @load_sp.
 *
 * The FP control state is not switched (x86-64: mxcsr and the x87 control word; AArch64: fpcr): who changes the
 * rounding mode sets it back before it suspends, as it would before it calls a function. AArch64's d8-d15 are saved,
 * being callee-saved.
 *
 * Returns: when somebody switches back to *@save_sp, the value that he brings; possibly on another thread. A function that ends with
 *          `return wf_switch(…)` is left by a jump: it is resumed right in its caller, and no return is mispredicted.
 * Threads: any; @load_sp must not be resumed by two.
 * Source:  runtime/switch_x86_64.S, switch_aarch64.S, switch_ucontext.c
 */
void *wf_switch(void **save_sp, void *load_sp, void *value);

/* The same function for values that are small integers: a conversion of the result would keep callers from ending with it. */
int wf_switch_code(void **save_sp, void *load_sp, void *value);

/**
 * Lay the first frame on a new stack that grows down from @stack_top: the first switch to the result calls
 * @entry(@arg).
 *
 * Units:   @stack_top is any address inside the stack; it is rounded down to 16 bytes (ucontext: 64). Uses 56 bytes
 *          below it on x86-64 and 160 on AArch64; with ucontext a ucontext_t (1 to 5 KiB), as each suspension then
 *          does.
 * Returns: the stack pointer to load. @entry never returns: running off its end traps.
 * Threads: any.
 * Source:  as wf_switch
 */
void *wf_switch_prepare(void *stack_top, void (*entry)(void *), void *arg);

/** Make @ctx the context of the calling thread's own stack. It cannot be moved to another thread, nor be destroyed. */
#if WF_ASAN || WF_TSAN
void wf_ctx_init_thread(wf_ctx *ctx);
#else
static inline void wf_ctx_init_thread(wf_ctx *ctx) { ctx->sp = NULL; }
#endif

/**
 * Make @ctx a context that will call @entry(@arg).
 *
 * Units:   @stack_base: lowest byte of the stack, @stack_size: its bytes. @stack_top: where frames start, inside them
 *          or at their end; what lies above is the caller's.
 * Threads: any; the context can then run on any.
 * Source:  runtime/context.c
 */
void wf_ctx_init(wf_ctx *ctx, void *stack_base, size_t stack_size, void *stack_top, void (*entry)(void *), void *arg);

/** Free what a sanitizer keeps for @ctx; the stack stays. From another context, after its final switch or unused. */
void wf_ctx_destroy(wf_ctx *ctx);

/* ThreadSanitizer's instrumented functions push themselves on a call stack that it keeps per fiber. A function that
 * changes the fiber halfway would push on one and pop from the other, so the two that do are out of line and not
 * instrumented. */
#if WF_TSAN && defined(__clang__)
#define WF_UNINSTRUMENTED \
    __attribute__((noinline, disable_sanitizer_instrumentation)) /* no_sanitize keeps the call stack */
#elif WF_TSAN
#define WF_UNINSTRUMENTED __attribute__((noinline, no_sanitize("thread")))
#else
#define WF_UNINSTRUMENTED
#endif
#if WF_TSAN
void *wf_ctx_switch_tsan(wf_ctx *from, wf_ctx *to, void *value);
#endif

/**
 * Leave @from, which is the one that runs, for @to, whose own switch (if it is not its first) returns @value.
 *
 * Returns: when somebody switches to @from again, the value that he brings; possibly on another thread, so thread-locals read
 *          before are stale.
 * Threads: the one that runs @from.
 */
static inline void *wf_ctx_switch(wf_ctx *from, wf_ctx *to, void *value)
{
#if WF_TSAN
    return wf_ctx_switch_tsan(from, to, value);
#elif WF_ASAN
    __sanitizer_start_switch_fiber(&from->fake_stack, to->bottom, to->size);
    value = wf_switch(&from->sp, to->sp, value);
    __sanitizer_finish_switch_fiber(from->fake_stack, NULL, NULL);
    return value;
#else
    return wf_switch(&from->sp, to->sp, value);
#endif
}

/** The same, for a value that is a small integer. */
static inline int wf_ctx_switch_code(wf_ctx *from, wf_ctx *to, void *value)
{
#if WF_TSAN || WF_ASAN
    return (int)(intptr_t)wf_ctx_switch(from, to, value);
#else
    return wf_switch_code(&from->sp, to->sp, value);
#endif
}

/** Leave @from for good. Its stack may be used again as soon as @to runs. */
WEFT_NORETURN static inline void wf_ctx_switch_final(wf_ctx *from, wf_ctx *to, void *value)
{
#if WF_TSAN
    wf_ctx_switch_tsan(from, to, value);
#else
#if WF_ASAN
    __sanitizer_start_switch_fiber(NULL, to->bottom, to->size);
#endif
    wf_switch(&from->sp, to->sp, value);
#endif
    __builtin_trap();
}

/** The first call of an entry function, before anything that has an address on the stack. */
static inline void wf_ctx_entered(wf_ctx *self)
{
    (void)self;
#if WF_ASAN
    __sanitizer_finish_switch_fiber(NULL, NULL, NULL);
#endif
}

#endif
