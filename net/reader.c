/* reader.c - buffered reading. */
#include <net/stream.h>

struct weft_reader {
    size_t held;
};

size_t wf_reader_take(weft_reader *r, void *buf, size_t size)
{
    (void)r, (void)buf, (void)size;
    return 0;
}

size_t wf_reader_held(const weft_reader *r) { return r->held; }

void wf_reader_drop(weft_reader *r) { (void)r; }
