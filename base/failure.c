/* failure.c - results that say "failed", and with which code. */
#include <base/failure.h>
#include <weft/task.h>

/* A failure is the address of a byte here: its index is the code's absolute value, so no state is needed to carry it. */
static char failures[8192];

void *weft_fail(int code)
{
    int index = code < 0 && code > -(int)sizeof failures ? -code : -WEFT_EINVAL;
    return &failures[index];
}

bool wf_is_failure(const void *result, int *code)
{
    ptrdiff_t index = (ptrdiff_t)((uintptr_t)result - (uintptr_t)failures);
    if (index < 0 || index >= (ptrdiff_t)sizeof failures)
        return false;
    *code = -(int)index;
    return true;
}
