/* frozen.c - see frozen.h. */
#include <diag/frozen.h>
#include <string.h>
#include <ucontext.h>

/* ---- copying ------------------------------------------------------------------------------------------------- */

/* Frames of functions that have not returned, with what sanitizers put between their variables. No memcpy(): that would be looked at, too. */
__attribute__((noinline, no_sanitize("address"), no_sanitize("thread"))) static void copy_words(unsigned char *to,
                                                                                                uintptr_t from, size_t bytes)
{
    volatile uint64_t *out = (void *)to;
    const volatile uint64_t *in = (const void *)from;
    for (size_t i = 0; i < bytes / sizeof *out; i++)
        out[i] = in[i];
}

static uintptr_t to_words(uintptr_t address) { return address & ~(uintptr_t)(sizeof(uint64_t) - 1); }

/* NULL: there is no room for another. */
static wf_frozen_stack *add_stack(wf_frozen *f, uintptr_t low, uintptr_t high)
{
    low = to_words(low);
    high = to_words(high);
    size_t bytes = WF_MIN(high - low, WF_FROZEN_BYTES - f->used);
    if (high <= low || bytes == 0 || f->count == WF_FROZEN_STACKS) {
        f->cut = true;
        return NULL;
    }
    wf_frozen_stack *stack = &f->stacks[f->count++];
    stack->low = low;
    stack->high = low + bytes;
    stack->at = f->used;
    stack->whole = stack->high == high;
    copy_words(f->bytes + f->used, low, bytes);
    f->used += bytes;
    f->cut = f->cut || !stack->whole;
    return stack;
}

bool wf_frozen_read(const wf_frozen *f, const wf_frozen_stack *stack, uintptr_t address, uint64_t *out)
{
    if (address < stack->low || address > stack->high || stack->high - address < sizeof *out)
        return false;
    memcpy(out, f->bytes + stack->at + (address - stack->low), sizeof *out);
    return true;
}

/* ---- registers ----------------------------------------------------------------------------------------------- */

#if defined(__x86_64__) && defined(__LP64__)

enum { FP = 6, SP = 7, REDZONE = 128 };

#elif defined(__aarch64__) && defined(__LP64__)

enum { FP = 29, SP = 31, REDZONE = 0 };

#else

enum { FP = 0, SP = 1, REDZONE = 0 };

#endif

static inline void set(wf_registers *r, unsigned number, uint64_t value)
{
    r->known |= UINT64_C(1) << number;
    r->value[number] = value;
}

static inline void finish(wf_registers *r, uint64_t pc)
{
    r->pc = pc;
    r->sp = r->value[SP];
    r->fp = r->value[FP];
}

/* Of a machine that is not known: nothing. */
static void from_context(wf_registers *r, const ucontext_t *c)
{
    *r = (wf_registers){0};
#if defined(__x86_64__) && defined(__LP64__)
    static const uint8_t order[] = {REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP,
                                    REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    for (unsigned i = 0; i < sizeof order; i++)
        set(r, i, (uint64_t)c->uc_mcontext.gregs[order[i]]);
    finish(r, (uint64_t)c->uc_mcontext.gregs[REG_RIP]);
#elif defined(__aarch64__) && defined(__LP64__)
    for (unsigned i = 0; i <= 30; i++)
        set(r, i, c->uc_mcontext.regs[i]);
    set(r, SP, c->uc_mcontext.sp);
    finish(r, c->uc_mcontext.pc);
#else
    (void)c;
#endif
}

/* What wf_switch() left on the stack, from its copy. */
static void from_switch(wf_registers *r, const wf_frozen *f, const wf_frozen_stack *stack)
{
    *r = (wf_registers){0};
#if WF_SWITCH_UCONTEXT
    ucontext_t context;
    if (stack->high - stack->low < sizeof context)
        return;
    memcpy(&context, f->bytes + stack->at, sizeof context);
    from_context(r, &context);
#elif defined(__x86_64__)
    static const uint8_t order[] = {15, 14, 13, 12, 3, 6};
    uint64_t word = 0;
    for (unsigned i = 0; i < sizeof order; i++)
        if (wf_frozen_read(f, stack, stack->low + i * 8, &word))
            set(r, order[i], word);
    set(r, SP, stack->low + 56);
    if (wf_frozen_read(f, stack, stack->low + 48, &word))
        finish(r, word);
#else
    uint64_t word = 0;
    for (unsigned i = 0; i < 12; i++)
        if (wf_frozen_read(f, stack, stack->low + i * 8, &word))
            set(r, 19 + i, word);
    set(r, SP, stack->low + 160);
    finish(r, word);
#endif
}

/* ---- stacks -------------------------------------------------------------------------------------------------- */

static bool is_on(const wf_stack *stack, uintptr_t sp)
{
    return stack && sp >= (uintptr_t)stack->base && sp < (uintptr_t)wf_stack_top(stack);
}

static bool is_on_thread(const wf_worker *w, uintptr_t sp) { return sp >= w->thread_low && sp < w->thread_high; }

/* @body, on a stack of the pool's, was left where its context says. False: no more is to be had. */
static bool add_parked(wf_frozen *f, const wf_body *body)
{
    if (!body->stack || !body->ctx || !is_on(body->stack, (uintptr_t)body->ctx->sp))
        return false;
    wf_frozen_stack *stack = add_stack(f, (uintptr_t)body->ctx->sp, (uintptr_t)wf_stack_top(body->stack));
    if (!stack)
        return false;
    from_switch(&stack->registers, f, stack);
    stack->exact = false;
    stack->pooled = true;
    return stack->whole;
}

static void begin(wf_frozen *f)
{
    f->count = 0;
    f->cut = false;
    f->used = 0;
}

void wf_frozen_parked(wf_frozen *f, const wf_body *body)
{
    begin(f);
    while (body && add_parked(f, body))
        body = body->outer;
}

/* The red zone is a function's that calls nobody. What lies below the stack's end may not be touched; of a thread's that end is not known, but a page is. */
static uintptr_t with_redzone(uintptr_t sp, uintptr_t lowest)
{
    enum { LEAST_PAGE = 4096 };
    return WF_MAX(WF_MAX(sp - REDZONE, lowest), sp & ~(uintptr_t)(LEAST_PAGE - 1));
}

static void add_running(wf_frozen *f, const wf_registers *r, uintptr_t lowest, uintptr_t high, bool pooled)
{
    wf_frozen_stack *stack = add_stack(f, with_redzone(r->sp, lowest), high);
    if (!stack)
        return;
    stack->registers = *r;
    stack->exact = true;
    stack->pooled = pooled;
}

/* In the midst of a switch it may be on a stack that its execution does not name, or no more: then nothing is certain, and nothing is read. */
void wf_frozen_running(wf_frozen *f, const wf_worker *w, const wf_exec *exec, const void *context)
{
    wf_registers r;
    const wf_body *body = exec->body;
    begin(f);
    from_context(&r, context);
    while (body && !is_on(body->stack, r.sp))
        body = body->outer;
    if (!body) {
        if (is_on_thread(w, r.sp))
            add_running(f, &r, w->thread_low, w->thread_high, false);
        return;
    }
    add_running(f, &r, (uintptr_t)body->stack->base, (uintptr_t)wf_stack_top(body->stack), true);
    for (body = body->outer; body && f->count > 0 && !f->cut && add_parked(f, body);)
        body = body->outer;
}
