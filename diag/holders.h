/* holders.h - who holds the mutexes that others wait for. */
#ifndef WF_HOLDERS_H
#define WF_HOLDERS_H

#include <runtime/registry.h>

enum { WF_HOLDERS_MOST = 64 };

typedef struct wf_holders {
    unsigned count;
    struct {
        uint64_t mutex; /* its address */
        uintptr_t owner;
        uint64_t id; /* 0: no task that lives, or one in a coroutine */
        char name[64];
    } of[WF_HOLDERS_MOST];
} wf_holders;

/* Ask for the holder of what @info waits for; of nothing but mutexes, and of no more than there is room for. */
void wf_holders_ask(wf_holders *h, const weft_task_info *info);

/* Find them all, in one walk. */
void wf_holders_find(wf_holders *h, weft_runtime *rt);

/* " held by #17 \"writer\"", or "". */
void wf_holders_text(const wf_holders *h, const weft_task_info *info, char *out, size_t size);

#endif
