/* libdw.c - see libdw.h. */
#include <diag/libdw.h>

#ifndef WF_LIBDW
#if defined(__has_include) && defined(__linux__)
#if __has_include(<elfutils/libdwfl.h>)
#define WF_LIBDW 1
#endif
#endif
#ifndef WF_LIBDW
#define WF_LIBDW 0
#endif
#endif

#if WF_LIBDW

#include <dlfcn.h>
#include <elfutils/libdwfl.h>
#include <link.h>
#include <unistd.h>

/* ---- what is used of it -------------------------------------------------------------------------------------- */

#define FUNCTIONS(X)                 \
    X(dwfl_begin)                    \
    X(dwfl_end)                      \
    X(dwfl_report_begin)             \
    X(dwfl_report_end)               \
    X(dwfl_linux_proc_report)        \
    X(dwfl_linux_proc_find_elf)      \
    X(dwfl_build_id_find_debuginfo)  \
    X(dwfl_attach_state)             \
    X(dwfl_getthread_frames)         \
    X(dwfl_frame_pc)                 \
    X(dwfl_thread_state_registers)   \
    X(dwfl_thread_state_register_pc) \
    X(dwfl_addrmodule)               \
    X(dwfl_module_info)              \
    X(dwfl_module_addrinfo)          \
    X(dwfl_module_getsrc)            \
    X(dwfl_lineinfo)                 \
    X(dwfl_module_nextcu)            \
    X(dwarf_haspc)                   \
    X(dwarf_getsrc_die)              \
    X(dwarf_linesrc)                 \
    X(dwarf_lineno)

#define MEMBER(name) __typeof__(name) *name;
static struct {
    FUNCTIONS(MEMBER)
} dw;
#undef MEMBER

static const char *const names[] = {
#define NAME(name) #name,
    FUNCTIONS(NAME)
#undef NAME
};

_Static_assert(sizeof dw == sizeof names, "a pointer for each name");

static bool load(void)
{
    static bool tried, there;
    if (tried)
        return there;
    tried = true;
    void *library = dlopen("libdw.so.1", RTLD_NOW | RTLD_LOCAL);
    there = library != NULL;
    for (size_t i = 0; there && i < sizeof names / sizeof *names; i++) {
        void *symbol = dlsym(library, names[i]);
        ((void **)(void *)&dw)[i] = symbol;
        there = symbol != NULL;
    }
    return there; /* what was loaded stays: there may be threads in it */
}

/* ---- what it asks for ---------------------------------------------------------------------------------------- */

static const wf_frozen *frozen_now;
static const wf_frozen_stack *stack_now;

static pid_t next_thread(Dwfl *dwfl, void *arg, void **thread_arg)
{
    (void)dwfl, (void)arg, (void)thread_arg;
    return 0;
}

static bool get_thread(Dwfl *dwfl, pid_t thread, void *arg, void **thread_arg)
{
    (void)dwfl, (void)thread, (void)arg;
    *thread_arg = NULL;
    return true;
}

static bool read_memory(Dwfl *dwfl, Dwarf_Addr address, Dwarf_Word *out, void *arg)
{
    (void)dwfl, (void)arg;
    return wf_frozen_read(frozen_now, stack_now, (uintptr_t)address, out);
}

static bool set_registers(Dwfl_Thread *thread, void *arg)
{
    (void)arg;
    const wf_registers *r = &stack_now->registers;
    for (int i = 0; i < WF_REGISTERS; i++)
        if (r->known >> i & 1 && !dw.dwfl_thread_state_registers(thread, i, 1, (const Dwarf_Word *)&r->value[i]))
            return false;
#if defined(__x86_64__)
    enum { RETURN_ADDRESS = 16 };
    if (!dw.dwfl_thread_state_registers(thread, RETURN_ADDRESS, 1, (const Dwarf_Word *)&r->pc))
        return false;
#endif
    dw.dwfl_thread_state_register_pc(thread, r->pc);
    return true;
}

static const Dwfl_Thread_Callbacks thread_callbacks = {
    .next_thread = next_thread, .get_thread = get_thread, .memory_read = read_memory, .set_initial_registers = set_registers};

/* By build id only: the standard way may ask servers in the network. */
static int find_debuginfo(Dwfl_Module *module, void **userdata, const char *name, Dwarf_Addr base, const char *file,
                          const char *link, GElf_Word crc, char **out)
{
    return dw.dwfl_build_id_find_debuginfo(module, userdata, name, base, file, link, crc, out);
}

static int find_elf(Dwfl_Module *module, void **userdata, const char *name, Dwarf_Addr base, char **file, Elf **elf)
{
    return dw.dwfl_linux_proc_find_elf(module, userdata, name, base, file, elf);
}

static const Dwfl_Callbacks callbacks = {.find_elf = find_elf, .find_debuginfo = find_debuginfo};

/* ---- the session --------------------------------------------------------------------------------------------- */

typedef struct generation {
    unsigned long long added, removed;
} generation;

static Dwfl *session;
static generation reported; /* the objects that it knows */

static int read_generation(struct dl_phdr_info *info, size_t size, void *out)
{
    if (size >= offsetof(struct dl_phdr_info, dlpi_subs) + sizeof info->dlpi_subs)
        *(generation *)out = (generation){info->dlpi_adds, info->dlpi_subs};
    return 1;
}

static bool is_current(void)
{
    generation now = {0, 0};
    dl_iterate_phdr(read_generation, &now);
    bool same = session && now.added == reported.added && now.removed == reported.removed;
    reported = now;
    return same;
}

static bool report(void)
{
    dw.dwfl_report_begin(session);
    bool reported_all = dw.dwfl_linux_proc_report(session, getpid()) == 0;
    return dw.dwfl_report_end(session, NULL, NULL) == 0 && reported_all &&
           dw.dwfl_attach_state(session, NULL, getpid(), &thread_callbacks, NULL);
}

bool wf_libdw_open(void)
{
    if (!load())
        return false;
    if (is_current())
        return true;
    wf_libdw_close();
    session = dw.dwfl_begin(&callbacks);
    if (session && report())
        return true;
    wf_libdw_close();
    return false;
}

void wf_libdw_close(void)
{
    if (session)
        dw.dwfl_end(session);
    session = NULL;
}

/* ---- unwinding ----------------------------------------------------------------------------------------------- */

typedef struct collected {
    uint64_t *pc;
    unsigned count, most;
} collected;

static int collect(Dwfl_Frame *frame, void *arg)
{
    collected *c = arg;
    Dwarf_Addr pc;
    if (c->count == c->most || !dw.dwfl_frame_pc(frame, &pc, NULL))
        return DWARF_CB_ABORT;
    c->pc[c->count++] = pc;
    return DWARF_CB_OK;
}

unsigned wf_libdw_unwind(const wf_frozen *frozen, const wf_frozen_stack *stack, uint64_t *pc, unsigned most, bool *ended)
{
    collected c = {.pc = pc, .most = most};
    frozen_now = frozen;
    stack_now = stack;
    *ended = dw.dwfl_getthread_frames(session, getpid(), collect, &c) == 0;
    return c.count;
}

/* ---- names --------------------------------------------------------------------------------------------------- */

static void take_line(Dwfl_Line *line, wf_place *out)
{
    if (line)
        out->file = dw.dwfl_lineinfo(line, NULL, &out->line, NULL, NULL, NULL);
}

/* There is an index of addresses only if the compiler made one; clang does not. */
static void search_units(Dwfl_Module *module, Dwarf_Addr address, wf_place *out)
{
    Dwarf_Addr bias;
    for (Dwarf_Die *unit = NULL; (unit = dw.dwfl_module_nextcu(module, unit, &bias));) {
        if (dw.dwarf_haspc(unit, address - bias) <= 0)
            continue;
        Dwarf_Line *line = dw.dwarf_getsrc_die(unit, address - bias);
        if (line)
            out->file = dw.dwarf_linesrc(line, NULL, NULL);
        if (line)
            dw.dwarf_lineno(line, &out->line);
        return;
    }
}

bool wf_libdw_describe(uint64_t address, wf_place *out)
{
    GElf_Off offset;
    GElf_Sym symbol;
    *out = (wf_place){0};
    Dwfl_Module *module = dw.dwfl_addrmodule(session, address);
    if (!module)
        return false;
    out->object = dw.dwfl_module_info(module, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
    out->name = dw.dwfl_module_addrinfo(module, address, &offset, &symbol, NULL, NULL, NULL);
    take_line(dw.dwfl_module_getsrc(module, address), out);
    if (!out->file)
        search_units(module, address, out);
    return true;
}

#else

bool wf_libdw_open(void) { return false; }

void wf_libdw_close(void) {}

unsigned wf_libdw_unwind(const wf_frozen *frozen, const wf_frozen_stack *stack, uint64_t *pc, unsigned most, bool *ended)
{
    (void)frozen, (void)stack, (void)pc, (void)most;
    *ended = false;
    return 0;
}

bool wf_libdw_describe(uint64_t address, wf_place *out)
{
    (void)address;
    *out = (wf_place){0};
    return false;
}

#endif
