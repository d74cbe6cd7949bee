/* fuzz.h - what the fuzz targets share: bytes taken as a program, expectations, a runtime that lasts.
 *
 * Each *.c beside it but support.c and replay.c is one target: LLVMFuzzerTestOneInput(), which returns 0 and leaves nothing behind. With the preset
 * `fuzz` libFuzzer calls it; elsewhere replay.c does, with what lies in corpus/. What an input does depends on its bytes alone. */
#ifndef WEFT_FUZZ_H
#define WEFT_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <weft/base.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- expectations ---------------------------------------------------------------------------------------------- */

/* Print where and what, and abort: libFuzzer keeps the input. */
void fuzz_fail(const char *file, int line, const char *what, const char *format, ...)
    __attribute__((noreturn, format(printf, 4, 5)));

/* A format and its arguments may follow. The space keeps compilers from minding an empty one. */
#define FUZZ_EXPECT(condition, ...)                                     \
    do {                                                                \
        if (!(condition))                                               \
            fuzz_fail(__FILE__, __LINE__, #condition, " " __VA_ARGS__); \
    } while (0)

/* ---- bytes as a program ---------------------------------------------------------------------------------------- */

/* What is left of them. Past the end everything is 0, and a target stops when there is no more. */
typedef struct fuzz_input {
    const uint8_t *at, *end;
} fuzz_input;

static inline fuzz_input fuzz_open(const uint8_t *data, size_t size) { return (fuzz_input){data, data + size}; }

static inline size_t fuzz_left(const fuzz_input *in) { return (size_t)(in->end - in->at); }

static inline uint8_t fuzz_byte(fuzz_input *in) { return in->at < in->end ? *in->at++ : 0; }

static inline unsigned fuzz_below(fuzz_input *in, unsigned n) { return fuzz_byte(in) % n; }

/* The next @size bytes as a number, little end first. */
static inline uint64_t fuzz_number(fuzz_input *in, unsigned size)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < size; i++)
        n |= (uint64_t)fuzz_byte(in) << 8 * i;
    return n;
}

/* A copy in a block that ends where it ends, so that a sanitizer sees who reads on. @size, or what is left. The caller frees it. */
uint8_t *fuzz_take(fuzz_input *in, size_t *size);

/* The same up to a zero byte, as a string. */
char *fuzz_take_text(fuzz_input *in);

/* ---- a runtime ------------------------------------------------------------------------------------------------- */

/* Run @fn as a strand, on this very thread and under a paused clock: waiting takes no time, and nothing depends on chance. */
void fuzz_run(weft_fn fn, void *arg);

#endif
