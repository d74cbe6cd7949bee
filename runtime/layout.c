/* layout.c - the table by which debug/weft-gdb.py reads tasks, in a process or its core, with no debug information at all.
 *
 * It is constant, so that it needs no code to have run; names lie in it, so that next to nothing is relocated. Whatever the script reads stands here,
 * and nothing else does: who moves or renames a field has to see to nothing, who takes one away hears of it from the compiler. */
#include <base/waits.h>
#include <runtime/chunk.h>
#include <runtime/context.h>
#include <runtime/layout.h>
#include <runtime/runtime.h>
#include <runtime/storage.h>
#include <runtime/strand.h>
#include <weft/future.h>

#if WF_SWITCH_UCONTEXT
#include <runtime/switch_ucontext.h>
#endif

/* clang-format off */
#define SIZE_OF(type, member) ((int64_t)sizeof(((type *)0)->member) << WF_LAYOUT_SIZE)
#define FIELD(type, member) {#type "." #member, (int64_t)offsetof(type, member) | SIZE_OF(type, member)}
#define NUMBER(name) {#name, (int64_t)(name)}
#define WAIT(name, text, object, inside) {"wait:" text, WF_OBJECT_##object},

/* What the switch leaves at a context's stack pointer: "at:REGISTER" is saved so far above it; "add:REGISTER" is the stack pointer and so much. */
#define AT(name, offset) {"at:" name, (int64_t)(offset)}
#define ADD(name, offset) {"add:" name, (int64_t)(offset)}
/* The first frame of a stack is one whose stack pointer is the strand's record, less so much, rounded down to 64 bytes, and up to so much below. Between that
 * and the strand's function are so many frames. */
#define ENTRY(size, below, frames) {"entry:size", (int64_t)(size)}, {"entry:below", (below)}, {"entry:frames", (frames)}
#if WF_SWITCH_UCONTEXT
#define GREG(name, number) AT(name, offsetof(ucontext_t, uc_mcontext.gregs) + (number) * sizeof(greg_t))
#define XREG(number) AT("x" #number, offsetof(ucontext_t, uc_mcontext.regs) + (number) * sizeof(uint64_t))
#endif

const wf_layout weft_layout_ __attribute__((used)) = {"weftgdb", WF_LAYOUT_VERSION, &wf_all_runtimes, &weft_layout_, {
    FIELD(weft_runtime, name), FIELD(weft_runtime, count), FIELD(weft_runtime, workers), FIELD(weft_runtime, heap),
    FIELD(weft_runtime, phase), FIELD(weft_runtime, shelves), FIELD(weft_runtime, all), FIELD(weft_runtime, clock),
    NUMBER(WF_RUNNING), NUMBER(WF_CLOSING), NUMBER(WF_STOPPED), NUMBER(WF_ABANDONED), NUMBER(WF_FORKED),
    FIELD(wf_shelf, tasks), NUMBER(WF_SHELVES), FIELD(wf_stored_task, node),

    FIELD(wf_worker, index), FIELD(wf_worker, polling), FIELD(wf_worker, thread_id), FIELD(wf_worker, track),
    FIELD(wf_worker, polls), FIELD(wf_worker, rest), FIELD(wf_worker, seen_at),

    FIELD(wf_heap, newest), FIELD(wf_chunk, older), FIELD(wf_chunk, used),
    NUMBER(WF_FIRST_PLACE), NUMBER(WF_HEADER_SIZE), NUMBER(WF_HEADER_CHUNK),

    FIELD(weft_task, state), FIELD(weft_task, body), FIELD(weft_task, strand), FIELD(weft_task, rt), FIELD(weft_task, waits),
    FIELD(weft_task, id), FIELD(weft_task, extra), FIELD(weft_task, born), FIELD(weft_task, flags), FIELD(weft_task, track),
    FIELD(wf_extra, name), FIELD(weft_future, ops), FIELD(weft_future_ops, poll),
    NUMBER(WF_S_ACTIVE), NUMBER(WF_S_DONE), NUMBER(WF_S_ABORT), NUMBER(WF_S_POOLED), NUMBER(WF_S_REF),
    NUMBER(WF_TASK_STRAND), NUMBER(WF_TASK_PINNED), NUMBER(WF_TASK_STORAGE), NUMBER(WF_TASK_MEMBER), NUMBER(WF_TASK_BLOCKING),
    NUMBER(WF_TRACK_RUNNING), NUMBER(WF_TRACK_NOBODY), {"tick ns", INT64_C(1) << 23},

    FIELD(wf_strand, exec), {"wf_strand size", sizeof(wf_strand)}, FIELD(wf_exec, body), FIELD(wf_exec, task), {"wf_exec.self", (int64_t)offsetof(wf_exec, cx.exec)},
    FIELD(wf_body, outer), FIELD(wf_body, ctx), FIELD(wf_body, coro), FIELD(wf_ctx, sp),

    NUMBER(WF_WAIT_SHIFT), NUMBER(WF_OBJECT_ADDRESS), NUMBER(WF_OBJECT_DESCRIPTOR), NUMBER(WF_OBJECT_TASK), NUMBER(WF_OBJECT_TIME),
    NUMBER(WF_OBJECT_NUMBER), WF_WAITS(WAIT)

#if !WF_SWITCH_UCONTEXT && defined(__x86_64__)
    AT("r15", 0), AT("r14", 8), AT("r13", 16), AT("r12", 24), AT("rbx", 32), AT("rbp", 40), AT("rip", 48), ADD("rsp", 56),
    ENTRY(0, 0, 1),
#elif !WF_SWITCH_UCONTEXT && defined(__aarch64__)
    AT("x19", 0), AT("x20", 8), AT("x21", 16), AT("x22", 24), AT("x23", 32), AT("x24", 40), AT("x25", 48), AT("x26", 56), AT("x27", 64),
    AT("x28", 72), AT("x29", 80), AT("x30", 88), AT("pc", 88), ADD("sp", 160), ENTRY(0, 0, 1),
#elif defined(__x86_64__) && defined(__LP64__)
    GREG("r15", REG_R15), GREG("r14", REG_R14), GREG("r13", REG_R13), GREG("r12", REG_R12), GREG("rbx", REG_RBX), GREG("rbp", REG_RBP),
    GREG("rip", REG_RIP), GREG("rsp", REG_RSP), ENTRY(sizeof(wf_start), 16, 2),
#elif defined(__i386__)
    GREG("ebx", REG_EBX), GREG("esi", REG_ESI), GREG("edi", REG_EDI), GREG("ebp", REG_EBP), GREG("eip", REG_EIP), GREG("esp", REG_ESP),
    ENTRY(sizeof(wf_start), 16, 2),
#elif defined(__aarch64__)
    XREG(19), XREG(20), XREG(21), XREG(22), XREG(23), XREG(24), XREG(25), XREG(26), XREG(27), XREG(28), XREG(29), XREG(30),
    AT("sp", offsetof(ucontext_t, uc_mcontext.sp)), AT("pc", offsetof(ucontext_t, uc_mcontext.pc)), ENTRY(sizeof(wf_start), 0, 2),
#else
    ENTRY(0, 0, 0),
#endif
    {"", 0}}};
/* clang-format on */
