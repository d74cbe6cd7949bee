/* loop_thread.h - a thread with a libuv loop of its own, for what libuv does with a loop and no worker should be bothered with.
 * One per runtime, made on first use. */
#ifndef WF_LOOP_THREAD_H
#define WF_LOOP_THREAD_H

#include <base/mailbox.h>
#include <uv.h>
#include <weft/base.h>

typedef struct wf_loop_call {
    wf_letter letter;
    void (*run)(struct wf_loop_call *self, uv_loop_t *loop); /* on that thread */
} wf_loop_call;

/* The data of every handle on that loop: what to do with it when the runtime ends. */
typedef struct wf_loop_resident {
    void (*evict)(struct wf_loop_resident *self); /* closes the handle */
} wf_loop_resident;

/* Have @call run soon. Returns 0, or WEFT_ENOMEM, WEFT_EMFILE …: the thread could not be started. */
int wf_loop_thread_post(weft_runtime *rt, wf_loop_call *call);

#endif
