/* timeout.c - one call inside a scope of its own. */
#include <base/common.h>
#include <base/failure.h>
#include <weft/scope.h>
#include <weft/task.h>
#include <weft/time.h>

int weft_timeout(int64_t ns, weft_fn fn, void *arg, void **result)
{
    void *unwanted;
    weft_scope scope;
    int code;
    if (!result)
        result = &unwanted;
    *result = NULL;
    if (!fn)
        return WEFT_EINVAL;
    if (ns <= 0)
        return WEFT_ETIMEDOUT;
    int err = weft_scope_enter(&scope, ns);
    if (err < 0)
        return err;
    *result = fn(arg);
    err = weft_scope_leave(&scope);
    if (err == WEFT_EINVAL) /* this scope must not outlive its frame either */
        weft_panic("a function called by weft_timeout() has not left its scopes");
    if (err < 0)
        return err;
    if (!wf_is_failure(*result, &code))
        return 0;
    *result = (void *)(intptr_t)code;
    return WEFT_EFAILED;
}
