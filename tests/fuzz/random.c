/* random.c - the interpreter of random programs on any bytes: see tests/random. One worker, a paused clock and nothing from outside, so an input that fails
 * fails again. */
#include "fuzz.h"
#include <random/program.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const random_options options = {.workers = 1, .pure = true, .seed = 1, .patience = 15};
    int err = random_program_run(data, size, &options);
    FUZZ_EXPECT(err == 0, "%s", weft_err_name(err));
    return 0;
}
