/* census.h - all tasks of a runtime at a moment, in bounded memory: those that run, some that are queued, and those that wait, in groups.
 *
 * Groups are by what is waited for and, of strands, by where; of others, by name. To find out where 10,000 strands stand, only one of each
 * fingerprint is unwound. What exceeds a limit is counted in a group without a backtrace. */
#ifndef WF_CENSUS_H
#define WF_CENSUS_H

#include <diag/backtrace.h>
#include <diag/fingerprint.h>

enum {
    WF_CENSUS_EXAMPLES = 3,
    WF_CENSUS_RUNNING = 384,
    WF_CENSUS_QUEUED = 100,
    WF_CENSUS_GROUPS = 512,
    WF_CENSUS_PRINTS = 2048
};

/* Lives as long as the task does: only to be compared. */
typedef struct wf_census_task {
    const weft_task *task;
    weft_task_info info;
} wf_census_task;

typedef struct wf_group {
    weft_task_kind kind;
    wf_wait wait;
    bool lumped; /* of those that are in no other: neither name nor backtrace */
    uint64_t count;
    int64_t oldest;    /* ns */
    unsigned examples; /* the longest waiting first */
    weft_task_info example[WF_CENSUS_EXAMPLES];
    wf_frames frames;
} wf_group;

typedef struct wf_census {
    int64_t now;
    uint64_t running, queued, waiting, moving; /* moving: they came, went, or were woken just then */
    bool out_of_memory;
    wf_census_task run[WF_CENSUS_RUNNING];
    weft_task_info queue[WF_CENSUS_QUEUED];
    wf_group *groups; /* the most suspicious first */
    size_t group_count, group_room;
    struct {
        uint64_t print;
        size_t group;
    } prints[2 * WF_CENSUS_PRINTS]; /* a hash table; print 0: empty */
    unsigned print_count;
    wf_code code;
    wf_frozen frozen;
} wf_census;

/* Returns NULL when out of memory. To be freed. */
wf_census *wf_census_take(weft_runtime *rt);
void wf_census_free(wf_census *census);

/* Of one task that may be gone, or be another, at any line: false: there is no task at that place. Its frames, if it is a strand that waits. */
bool wf_census_read_strand(weft_task *task, wf_frozen *frozen, weft_task_info *info);

#endif
