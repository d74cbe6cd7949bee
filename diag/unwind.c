/* unwind.c - see unwind.h.
 *
 * What is shown: a strand that waits stands in weft's own functions, which say nothing to who reads that. So of the innermost frames those are left out that are
 * weft's and not public, up to the public call (weft_mutex_lock), or, where that was left by a jump, up to the program's function. The outermost, the entry of
 * the strand or the worker's loop, are left out too. If nothing remains, all of it is shown.
 *
 * A frame is known to be weft's by its name (wf_…), by the source file, if there is debug information, or as one of a shared libweft. Of a stripped static libweft
 * some more are shown. */
#include <diag/unwind.h>
#include <dlfcn.h>
#include <string.h>

enum { RAW_MOST = WF_FRAMES_MOST + 32 };

/* One stack's frames. */
typedef struct raw {
    unsigned count;
    bool ended; /* the last is the outermost */
    uint64_t pc[RAW_MOST];
} raw;

/* ---- whose frame is it --------------------------------------------------------------------------------------- */

static bool begins(const char *text, const char *with) { return text && strncmp(text, with, strlen(with)) == 0; }

static const char *last_part(const char *path)
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    return slash ? slash + 1 : path;
}

/* In one of the library's rooms, beside this one: /somewhere/diag/unwind.c. */
static bool is_own_source(const char *file)
{
    static const char *const rooms[] = {"base/", "timer/",  "reactor/", "runtime/", "sync/",
                                        "net/",  "system/", "tls/",     "diag/",    "include/weft/"};
    const char *here = __FILE__;
    size_t root = strlen(here) - strlen("diag/unwind.c");
    if (!file || strncmp(file, here, root) != 0)
        return false;
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++)
        if (begins(file + root, rooms[i]))
            return true;
    return false;
}

/* Static functions of which a suspended strand may be in the midst, where only their names are known. */
static bool is_own_name(const char *name)
{
    return begins(name, "wf_") || (name && (strcmp(name, "suspend") == 0 || strcmp(name, "swapcontext") == 0));
}

/* Of weft, and nothing that it promises to anybody. */
static bool is_internal(const wf_place *place)
{
    if (begins(place->name, "weft_"))
        return false;
    return is_own_name(place->name) || begins(last_part(place->object), "libweft") || is_own_source(place->file);
}

static bool is_internal_at(bool dw, uint64_t address)
{
    wf_place place;
    wf_place_of(dw, address, &place);
    return is_internal(&place);
}

void wf_place_of(bool dw, uint64_t address, wf_place *out)
{
    Dl_info info;
    if (dw && wf_libdw_describe(address, out))
        return;
    *out = (wf_place){0};
    if (!dladdr((void *)(uintptr_t)address, &info))
        return;
    out->name = info.dli_sname;
    out->object = info.dli_fname;
}

/* ---- by frame pointers --------------------------------------------------------------------------------------- */

static bool is_code(uint64_t address)
{
    Dl_info info;
    return address != 0 && dladdr((void *)(uintptr_t)address, &info) != 0;
}

/* A frame pointer points to the caller's, and beside it to where the call returns. Most programs are compiled without: then the chain ends as soon as
 * it leaves the stack, goes down, or leads to what is no code. */
static void by_frame_pointers(const wf_frozen *f, const wf_frozen_stack *stack, raw *out)
{
    uint64_t fp = stack->registers.fp, last = stack->registers.sp, pc = stack->registers.pc;
    while (is_code(pc) && out->count < RAW_MOST) {
        out->pc[out->count++] = pc;
        if (fp < last || fp % sizeof fp != 0 || !wf_frozen_read(f, stack, fp + sizeof fp, &pc))
            return;
        last = fp + 1;
        if (!wf_frozen_read(f, stack, fp, &fp))
            return;
    }
}

/* ---- what is shown ------------------------------------------------------------------------------------------- */

typedef struct range {
    unsigned first, end;
} range;

static uint64_t address_in(const raw *r, const wf_frozen_stack *stack, unsigned i)
{
    return r->pc[i] - !(i == 0 && stack->exact);
}

/* A strand's and a coroutine's are wf_switch_entry and the function that it calls. Elsewhere, only names tell. */
static unsigned without_bottom(bool dw, const raw *r, const wf_frozen_stack *stack)
{
    enum { ENTRY = 2 };
    unsigned end = r->count;
    if (!WF_SWITCH_UCONTEXT && stack->pooled && stack->whole && r->ended && end > ENTRY)
        end -= ENTRY;
    if (WF_SWITCH_UCONTEXT && stack->pooled && end > 1 && is_internal_at(dw, address_in(r, stack, end - 2)))
        end--; /* what makecontext() lets a function return to */
    while (end > 0 && is_internal_at(dw, address_in(r, stack, end - 1)))
        end--;
    return end;
}

static range shown(bool dw, const raw *r, const wf_frozen_stack *stack)
{
    range all = {0, r->count}, some = {0, without_bottom(dw, r, stack)};
    while (some.first < some.end && is_internal_at(dw, address_in(r, stack, some.first)))
        some.first++;
    return some.first < some.end ? some : all;
}

static void append(const raw *r, range show, const wf_frozen_stack *stack, wf_frames *out)
{
    for (unsigned i = show.first; i < show.end; i++) {
        if (out->count == WF_FRAMES_MOST) {
            out->cut = true;
            return;
        }
        out->exact[out->count] = i == 0 && stack->exact;
        out->pc[out->count++] = (uintptr_t)r->pc[i];
    }
}

static void unwind_one(bool dw, const wf_frozen *f, const wf_frozen_stack *stack, wf_frames *out)
{
    raw r;
    r.count = 0;
    r.ended = false;
    if (dw)
        r.count = wf_libdw_unwind(f, stack, r.pc, RAW_MOST, &r.ended);
    if (r.count <= 1) { /* it knows nothing of where this stands */
        r.count = 0;
        by_frame_pointers(f, stack, &r);
    }
    append(&r, shown(dw, &r, stack), stack, out);
    out->cut = out->cut || r.count == RAW_MOST;
}

void wf_unwind(const wf_frozen *frozen, wf_frames *out)
{
    bool dw = wf_libdw_open();
    out->count = 0;
    out->cut = false;
    for (unsigned i = 0; i < frozen->count; i++)
        unwind_one(dw, frozen, &frozen->stacks[i], out);
    out->cut = out->cut || (frozen->cut && frozen->count > 0);
}
