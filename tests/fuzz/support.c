/* support.c - see fuzz.h. */
#include "fuzz.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <weft/runtime.h>

void fuzz_fail(const char *file, int line, const char *what, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s:%d: %s:", file, line, what);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}

static void *block(size_t size)
{
    void *bytes = malloc(size ? size : 1);
    FUZZ_EXPECT(bytes);
    return bytes;
}

uint8_t *fuzz_take(fuzz_input *in, size_t *size)
{
    if (*size > fuzz_left(in))
        *size = fuzz_left(in);
    uint8_t *bytes = block(*size);
    if (*size > 0)
        memcpy(bytes, in->at, *size);
    in->at += *size;
    return bytes;
}

char *fuzz_take_text(fuzz_input *in)
{
    size_t size = fuzz_left(in) > 0 ? strnlen((const char *)in->at, fuzz_left(in)) : 0;
    char *text = block(size + 1);
    if (size > 0)
        memcpy(text, in->at, size);
    text[size] = '\0';
    in->at += size < fuzz_left(in) ? size + 1 : size;
    return text;
}

/* It is never destroyed: what it holds at the end of the process is reachable. */
void fuzz_run(weft_fn fn, void *arg)
{
    static weft_runtime *rt;
    const weft_options options = {
        .workers = 1, .flags = WEFT_CURRENT_THREAD | WEFT_NO_SEGV_HANDLER, .seed = 1, .clock = WEFT_CLOCK_PAUSED};
    if (!rt)
        FUZZ_EXPECT(weft_runtime_create(&rt, &options) == 0);
    int err = weft_block_on(rt, fn, arg, NULL);
    FUZZ_EXPECT(err == 0, "%s", weft_err_name(err));
}
