/* here.c - the thread-local of here.h. Takes no part in link-time optimization. */
#include <base/here.h>

#if WF_HERE_INLINE
WF_THREAD_LOCAL struct wf_exec *wf_here_;
#else
static WF_THREAD_LOCAL struct wf_exec *current;

WF_NOINLINE struct wf_exec *wf_here(void)
{
    __asm__ volatile("" ::: "memory");
    return current;
}

WF_NOINLINE void wf_here_set(struct wf_exec *exec)
{
    __asm__ volatile("" ::: "memory");
    current = exec;
}
#endif
