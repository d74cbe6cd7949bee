/* group.h - what a group's waits are made of, for whoever waits for more than one thing. */
#ifndef WF_GROUP_H
#define WF_GROUP_H

#include <base/exec.h>
#include <base/list.h>
#include <weft/group.h>

typedef enum {
    WF_GROUP_NEXT,       /* takes the next child that has ended */
    WF_GROUP_ENDED,      /* no child runs */
    WF_GROUP_ROOM,       /* fewer run than the limit, or it was cancelled; takes the place */
    WF_GROUP_ROOM_SEEN,  /* the same, and takes nothing */
    WF_GROUP_CLOSE,      /* no child runs and nobody is inside any more */
    WF_GROUP_CLOSE_LAST, /* … and nobody closes it */
} wf_group_want;

typedef struct wf_group_op {
    weft_group *group;
    wf_group_want want;
    struct wf_member *taken; /* NEXT: the child; NULL: none is left */
    int outcome;             /* ENDED: what weft_group_wait() returns */
    bool reserved;           /* ROOM: a place is the caller's; else the group was cancelled */
    bool inside;             /* under the group's lock, and so all below: the group may not go */
    wf_node node;            /* in its waiters from the first pending poll until it is chosen; all zero before */
    weft_waker waker;
} wf_group_op;

/* 0, WEFT_PENDING, or a negative code. */
ssize_t wf_group_op_poll(void *op, weft_context *cx);
/* Passes the turn on that it may have been given. */
ssize_t wf_group_op_cancel(void *op);

extern const wf_op_ops wf_group_op_ops;

/* weft_spawn_with() into a group: a strand, or a future if @f. */
int wf_group_spawn(weft_group *g, const weft_spawn_options *options, weft_fn fn, void *arg, weft_future *f);

/* weft_group_create_with(), of one that no scope around it cancels, not even one that has fired already. */
int wf_group_create_lasting(weft_group **group, const weft_group_options *options);

/* spawn.c: with @joiner as its join waker from birth. *@task is set before it can run. */
int wf_spawn_member(weft_task **task, const weft_spawn_options *options, weft_fn fn, void *arg, weft_future *f,
                    weft_waker joiner);

#endif
