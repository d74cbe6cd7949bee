/* failure.h - telling a result from what weft_fail() returns. */
#ifndef WF_FAILURE_H
#define WF_FAILURE_H

#include <base/common.h>

/* Did weft_fail() make @result? Then *@code is what it was given. */
bool wf_is_failure(const void *result, int *code);

#endif
