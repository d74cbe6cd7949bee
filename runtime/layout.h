/* layout.h - what a debugger must know of the library's structs, in memory of the process itself: see layout.c. */
#ifndef WF_LAYOUT_H
#define WF_LAYOUT_H

#include <base/common.h>

/* Changes when debug/weft-gdb.py of another version would misread it. */
enum { WF_LAYOUT_VERSION = 1, WF_LAYOUT_NAME = 32 };

typedef struct wf_layout_entry {
    char name[WF_LAYOUT_NAME]; /* "" ends the table */
    int64_t value;             /* a number; of a field: its offset, and above WF_LAYOUT_SIZE its size */
} wf_layout_entry;

enum { WF_LAYOUT_SIZE = 32 };

typedef struct wf_layout {
    char magic[8]; /* "weftgdb" */
    int64_t version;
    const void *runtimes; /* the list of all of them. The only words here that have to be relocated: this one … */
    const void *self;     /* … and this, which is the table's own address: else it has not been yet */
    wf_layout_entry entries[];
} wf_layout;

/* By name, in the dynamic symbols too: so it is found where all else has been stripped. */
extern WEFT_API const wf_layout weft_layout_;

/* By what is in every program that links the library: then so is the table, whatever a linker leaves out. */
static inline void wf_layout_keep(void) { __asm__ volatile("" : : "r"(&weft_layout_)); }

#endif
