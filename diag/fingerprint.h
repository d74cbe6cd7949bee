/* fingerprint.h - a number for where a parked strand stands, at a hundredth of the price of its backtrace. */
#ifndef WF_FINGERPRINT_H
#define WF_FINGERPRINT_H

#include <diag/frozen.h>

enum { WF_CODE_RANGES = 256 };

/* Where the program's code lies; what is loaded later is not known. */
typedef struct wf_code {
    unsigned count;
    struct {
        uintptr_t low, high;
    } ranges[WF_CODE_RANGES];
} wf_code;

void wf_code_find(wf_code *code);

uint64_t wf_hash(uint64_t hash, uint64_t word);

/* Of all words on its stacks that could be return addresses, with their places. Two that are equal stand at the same place, but for a collision of hashes. Two
 * that differ likely do not: what was left over in a frame, or a pointer to a function, makes some differ that stand at the same. */
uint64_t wf_fingerprint(const wf_frozen *frozen, const wf_code *code);

#endif
