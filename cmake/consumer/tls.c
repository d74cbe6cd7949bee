#include <weft.h>
#include <weft/tls.h>

static void *root(void *arg)
{
    weft_tls_context **ctx = arg;
    return weft_tls_client(ctx, NULL) < 0 ? arg : NULL;
}

int main(void)
{
    weft_tls_context *ctx;
    void *result;
    if (weft_run(root, &ctx, &result) != 0 || result)
        return 1;
    weft_tls_context_free(ctx);
    return 0;
}
