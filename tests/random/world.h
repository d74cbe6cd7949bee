/* world.h - what the tasks of one program share, and what is known of them: the ground on which the model judges.
 *
 * A flag that permits something is set before it is done, one that demands something ("sure") after it. */
#ifndef RANDOM_WORLD_H
#define RANDOM_WORLD_H

#include <pthread.h>
#include <random/decode.h>
#include <stdatomic.h>
#include <weft.h>

enum { CHANS = 4, TOKENS = 4, ONESHOTS = 2, SUBSCRIPTIONS = 2, SEMAPHORES = 2, NOTIFIES = 2, STREAMS = 8, UDPS = 2 };

/* ---- what is known ------------------------------------------------------------------------------------------------ */

typedef enum task_kind { STRAND, FUTURE, INLINE_FUTURE, JOB, THREAD } task_kind;

typedef struct task_state {
    _Atomic(weft_task *) handle; /* NULL while somebody uses it */
    _Atomic(weft_aborter *) aborter;
    task_kind kind;
    int group;                         /* the step that made it; -1: none */
    bool stored;                       /* in storage of ours: it has no result */
    atomic_int spawned, begun, gone;   /* gone: its argument, exactly once */
    atomic_int aborted, sure;          /* by name */
    atomic_int panics, fails, returns; /* said before it is done */
    atomic_int met, may_have_met;      /* its abort */
    atomic_int results, results_gone;
    atomic_int at; /* the step it is in */
} task_state;

typedef struct group_state {
    unsigned owner;
    bool fail_fast;
    atomic_int alive;     /* children */
    atomic_int cancelled; /* … or will be */
} group_state;

typedef struct item {
    struct world *world;
    uint16_t step;
    uint8_t task, chan;
    uint32_t check;
} item;

typedef enum item_state { UNSENT, SENDING, SENT, TAKEN, SENT_AND_TAKEN, REFUSED } item_state;

/* A call that a strand or a coroutine has deferred. */
typedef struct deferred {
    struct deferred *outer;
    struct actor *actor;
    struct body *body;
    unsigned does;
    atomic_int waits;
} deferred;

typedef struct stream_state {
    weft_stream *stream;
    atomic_bool reading, writing;
    uint64_t read, written; /* by whoever reads and writes */
    atomic_bool unsure;     /* how much was written */
    atomic_int shut, closed, sure;
} stream_state;

typedef struct world {
    const program *program;
    const random_options *options;
    const uint8_t *bytes;
    size_t size;
    weft_runtime *runtime;
    bool abrupt; /* the root does not wait for the others: the runtime stops them */

    weft_chan *chan[CHANS];
    weft_token *token[TOKENS];
    weft_oneshot *oneshot[ONESHOTS];
    weft_broadcast *broadcast;
    weft_subscription *subscription[SUBSCRIPTIONS];
    weft_watch *watch;
    weft_mutex mutex;
    weft_rwlock rwlock;
    weft_semaphore semaphore[SEMAPHORES];
    weft_notify notify[NOTIFIES];
    weft_cond cond;
    weft_barrier barrier;
    weft_once once;
    stream_state stream[STREAMS];
    weft_udp *udp[UDPS];
    weft_addr udp_address[UDPS];
    weft_listener *listener;
    char address[WEFT_ADDR_TEXT];

    task_state task[RANDOM_TASKS];
    group_state group[RANDOM_STEPS];
    atomic_int item[RANDOM_STEPS];
    deferred deferred[RANDOM_STEPS];
    pthread_t thread[RANDOM_TASKS];

    atomic_bool ending, stopping;
    atomic_int live; /* arguments that are not gone */
    weft_notify quiet;

    atomic_int chan_closed[CHANS], chan_closed_sure[CHANS];
    atomic_bool chan_returned[CHANS]; /* an item may have come back to it, and so be out of order */
    atomic_int token_cancelled[TOKENS], token_sure[TOKENS];
    atomic_int oneshot_sent[ONESHOTS], oneshot_taken[ONESHOTS], oneshot_closed[ONESHOTS];
    atomic_int broadcast_closed, watch_closed;
    atomic_int mutex_held, readers, writers, held[SEMAPHORES];
    size_t permits[SEMAPHORES];
    atomic_int notified[NOTIFIES];
    atomic_int met_first, met_all; /* at the barrier */
    atomic_int once_done;
    atomic_int udp_closed[UDPS];
    atomic_bool udp_receiving[UDPS];
    atomic_int locals, locals_gone;
    atomic_int storages, storages_gone;
    atomic_long blocks; /* of the allocator */
    atomic_bool advanced;

    atomic_uint events;
} world;

/* Objects of the whole program. They are made and freed by the root, when nobody else lives. */
void random_world_open(world *w);
void random_world_close(world *w);

/* ---- who runs a step ---------------------------------------------------------------------------------------------- */

/* A scope that is entered, as the model sees it. */
typedef struct frame {
    struct frame *outer;
    weft_scope scope;
    int64_t deadline; /* it does not fire by time before */
    unsigned shields;
    unsigned tokens; /* bound: a bit each */
    bool entered;    /* here, and not by weft_timeout() */
    bool cancelled;
} frame;

/* A strand's, a coroutine's, or a thread's: with scopes and shields of its own. */
typedef struct body {
    struct body *outer;
    frame *frames;
    unsigned shields;
    deferred *newest;
    bool coro;
} body;

/* A group that is within reach. */
typedef struct near_group {
    struct near_group *outer;
    weft_group *group;
    int id;
    bool own; /* made by this very task, and not by the one whose child it is */
    bool open;
} near_group;

typedef struct actor {
    world *w;
    unsigned task;
    task_kind kind;
    body *body;
    near_group *groups;
    const step *at;
    bool leaving;
    int fails; /* with that code; 0: not */
    uint64_t version;
    uint16_t last[CHANS][RANDOM_TASKS]; /* the newest item of each sender that was received, as its step plus one */
} actor;

/* The argument of a task that is a block, on the heap. */
typedef struct start {
    world *w;
    unsigned from, to, task;
    weft_group *group;
    int group_id;
    bool copied; /* it lies in the task */
} start;

unsigned random_step_index(const actor *a, const step *s);

/* Returns what is noted in the trace. */
typedef int random_step_fn(actor *a, const step *s);

void random_run_steps(actor *a, unsigned from, unsigned to);

/* ---- the model: model.c ------------------------------------------------------------------------------------------- */

/* What is wrong is told with the program, and is the end of the process. */
void random_wrong(world *w, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));

#define JUDGE(w, code, condition)                                                                        \
    do {                                                                                                 \
        if (!(condition))                                                                                \
            random_wrong((w), "%s:%d: not true of %d: %s", __FILE__, __LINE__, (int)(code), #condition); \
    } while (0)

#define EXPECT(w, condition)                                                          \
    do {                                                                              \
        if (!(condition))                                                             \
            random_wrong((w), "%s:%d: not true: %s", __FILE__, __LINE__, #condition); \
    } while (0)

void random_trace_add(world *w, unsigned task, const step *s, int result);

/* Around an await: what was known before it; whether its result may be an interruption, or has to be. Returns @result. */
typedef struct before {
    bool interrupted;
} before;
before random_before(actor *a);
int random_after(actor *a, const before *b, int result);

/* The same for what has a result whatever the caller's state, or may have. */
int random_after_any(actor *a, int result);

/* weft_is_cancelled() has said @told. */
void random_told(actor *a, const before *b, bool told);

bool random_abortable(world *w, unsigned task);
bool random_group_cancelled(world *w, int group);

/* The life of an argument. */
void random_task_spawning(world *w, unsigned task, task_kind kind, int group);
void random_task_not_spawned(world *w, unsigned task);
void random_task_begins(world *w, unsigned task);
void random_task_gone(world *w, unsigned task);
/* … is about to fail or to panic. Returns the code to fail with. */
int random_task_fails(world *w, unsigned task);

/* Results. */
typedef struct returned {
    world *w;
    unsigned task;
} returned;
void *random_result_make(world *w, unsigned task);
void random_result_drop(void *result);

/* What a join of @task may return; takes the result. @step: of the group that told; -1: by handle, and the task is known. */
void random_joined(world *w, int task, int group, int code, void *value);

/* Items. */
item random_item(actor *a, const step *s, unsigned chan);
void random_item_sending(world *w, const item *i);
void random_item_result(world *w, const item *i, int code, bool sure_closed);
void random_item_dropped(void *item);
void random_item_received(actor *a, unsigned chan, const item *i);

void random_judge_end(world *w);

/* ---- steps by topic ----------------------------------------------------------------------------------------------- */

#define OP(name, kind) random_step_fn random_do_##name;
RANDOM_OPS(OP)
#undef OP

/* Bodies of tasks that are blocks: of a strand or a job, and of a thread. */
void *random_task(void *start);
void *random_thread(void *start);
void random_start_drop(void *start);

/* Scopes, as the model sees them. */
void random_frame_enter(actor *a, frame *f, int64_t ns);
void random_frame_leave(actor *a, frame *f);

/* Abort it by name, if it has one. */
void random_abort(world *w, unsigned task);

/* In a coroutine's body: hand over to the resumer, sometimes. */
void random_coro_pause(actor *a, const step *s);
/* … is about to panic. */
void random_coro_panics(actor *a);

/* One direction of a stream: a second to use it would be busy. False: somebody else is at it, or there is no such stream. */
bool random_claim(actor *a, unsigned stream, bool reading);

enum { NOTHING = 1000 }; /* noted by a step that finds nothing to do */

/* A nanosecond count that is interesting, of any byte. */
int64_t random_ns(unsigned byte);

/* A future, for @s's task. */
weft_future *random_future(actor *a, const step *s, task_kind kind);

#endif
