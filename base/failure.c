/* failure.c - results that say "failed", and with which code. */
#include <base/failure.h>
#include <weft/task.h>

char wf_failures[WF_FAILURES];

void *weft_fail(int code)
{
    int index = code < 0 && code > -(int)sizeof wf_failures ? -code : -WEFT_EINVAL;
    return &wf_failures[index];
}
