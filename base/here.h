/* here.h - the one thread-local: which execution runs on this thread.
 *
 * Compilers keep the addresses of thread-locals across calls, and a strand that waits may go on on another thread. So it is read and written by
 * instructions that the compiler cannot look into, each time anew; where there are none for the machine, or a sanitizer wants to see, by calls
 * into a file that takes no part in link-time optimization (here.c). */
#ifndef WF_HERE_H
#define WF_HERE_H

#include <base/common.h>

/* The explorer of interleavings, whose threads are not the machine's, sets it to 0. */
#ifndef WF_HERE_INLINE
#if defined(__ELF__) && defined(__LP64__) && (defined(__x86_64__) || defined(__aarch64__)) && !WF_TSAN && !WF_ASAN
#define WF_HERE_INLINE 1
#else
#define WF_HERE_INLINE 0
#endif
#endif

struct wf_exec;

#if WF_HERE_INLINE

/* Defined in here.c; named nowhere but here. */
extern WF_THREAD_LOCAL struct wf_exec *wf_here_;

#if defined(__x86_64__)

static inline struct wf_exec *wf_here(void)
{
    struct wf_exec *exec;
    __asm__ volatile("movq wf_here_@gottpoff(%%rip), %0\n\tmovq %%fs:(%0), %0" : "=r"(exec));
    return exec;
}

static inline void wf_here_set(struct wf_exec *exec)
{
    uintptr_t place;
    __asm__ volatile("movq wf_here_@gottpoff(%%rip), %0\n\tmovq %1, %%fs:(%0)" : "=&r"(place) : "r"(exec) : "memory");
}

#else

static inline struct wf_exec **wf_here_place(void)
{
    uintptr_t thread, place;
    __asm__ volatile("mrs %0, tpidr_el0\n\tadrp %1, :gottprel:wf_here_\n\tldr %1, [%1, #:gottprel_lo12:wf_here_]"
                     : "=&r"(thread), "=&r"(place));
    return (struct wf_exec **)(thread + place);
}

static inline struct wf_exec *wf_here(void) { return *(struct wf_exec *volatile *)wf_here_place(); }

static inline void wf_here_set(struct wf_exec *exec) { *(struct wf_exec *volatile *)wf_here_place() = exec; }

#endif

#else

struct wf_exec *wf_here(void);
void wf_here_set(struct wf_exec *exec);

#endif
#endif
