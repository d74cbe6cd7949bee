/* libdw.h - elfutils' libdw, if it is there: unwinding, and what addresses are called.
 *
 * It is loaded when it is first asked, so that libweft needs none. A session knows the program's objects, holds some memory, and sees by itself
 * that others were loaded since. All of it under the caller's one lock, as libdw is not safe for threads. */
#ifndef WF_LIBDW_H
#define WF_LIBDW_H

#include <diag/frozen.h>

typedef struct wf_place {
    const char *name; /* the function's, or NULL */
    const char *file; /* … and where it stands in the source, or NULL */
    int line;
    const char *object; /* the file that was loaded, or NULL */
} wf_place;

/* Is it there? Opens a session, or makes it see what was loaded. */
bool wf_libdw_open(void);
void wf_libdw_close(void);

/* Return addresses of @stack into @pc, innermost first. Returns how many. *@ended: the last is the outermost, as far as anybody can tell. In an open session. */
unsigned wf_libdw_unwind(const wf_frozen *frozen, const wf_frozen_stack *stack, uint64_t *pc, unsigned most, bool *ended);

/* What is at @address. Its texts stay as long as the session. False: nothing is known. In an open session. */
bool wf_libdw_describe(uint64_t address, wf_place *out);

#endif
