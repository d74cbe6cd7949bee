/* failure.h - telling a result from what weft_fail() returns. */
#ifndef WF_FAILURE_H
#define WF_FAILURE_H

#include <base/common.h>

/* A failure is the address of a byte here: its index is the code's absolute value, so no state is needed to carry it. */
enum { WF_FAILURES = 8192 };
extern char wf_failures[WF_FAILURES];

/* Did weft_fail() make @result? Then *@code is what it was given. */
static inline bool wf_is_failure(const void *result, int *code)
{
    uintptr_t index = (uintptr_t)result - (uintptr_t)wf_failures;
    if (wf_likely(index >= WF_FAILURES))
        return false;
    *code = -(int)index;
    return true;
}

#endif
