/* worker.c - a worker's loop: own queues, inject queue, reactor, other workers, sleep.
 *
 * Decides where tasks are queued and which comes next; how one is polled is task.c's business, who sleeps and wakes is idle.c's. */
#include <base/clock.h>
#include <runtime/runtime.h>
#include <runtime/sampled.h>
#include <runtime/strand.h>
#include <runtime/watch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* How long a busy worker looks at nothing but its tasks, and one that likely will be rung watches for that before it sleeps: see patience.h. */
enum { LOOK_US = 30, WATCH_US = 15 };

/* ---- queueing ------------------------------------------------------------------------------------------------ */

static void push_pinned(wf_worker *w, weft_task *task)
{
    task->next = NULL;
    if (w->pinned_last)
        w->pinned_last->next = task;
    else
        w->pinned_first = task;
    w->pinned_last = task;
    wf_count(&w->pinned, 1);
}

static void schedule_pinned(wf_worker *w, weft_task *task)
{
    unsigned home = wf_track_worker(wf_noted(&task->track));
    if (w && w->index == home) {
        push_pinned(w, task);
        return;
    }
    wf_worker *owner = task->rt->workers[home];
    wf_add_rlx(&owner->mail_sent, 1);
    wf_mailbox_post(&owner->pinned_mail, &task->letter);
    wf_reactor_ring(&owner->reactor, WF_RUNG);
}

/* From a thread that is no worker of the runtime, and has been counted as an entrant. */
static void publish(weft_runtime *rt, weft_task *task)
{
    if (wf_task_is(task, WF_TASK_PINNED)) {
        schedule_pinned(NULL, task);
    } else {
        wf_inject_push(&rt->inject, task);
        wf_idle_notify(rt);
    }
}

static void tell_of_wake(wf_worker *w, weft_task *task)
{
    if (wf_task_is(task, WF_TASK_MEASURED))
        wf_watch_stamp(task);
    if (wf_task_is(task, WF_TASK_WATCHED))
        wf_watch_wake(w, task);
}

/* Nothing here is touched once the entrant is counted out. */
static void schedule_foreign(weft_runtime *rt, weft_task *task)
{
    WF_PROBE1(wake, task->id.v);
    wf_add_seq(&rt->entrants, 1);
    wf_worker_note_queued(NULL, task);
    tell_of_wake(NULL, task);
    publish(rt, task);
    wf_sub_seq(&rt->entrants, 1);
}

/* The fresh queue is full: its older half goes to where everybody looks. */
static void spill_fresh(wf_worker *w)
{
    weft_task *first = NULL, *last = NULL;
    uint64_t n = 0;
    while (n < WF_RUNQ_CAPACITY / 2) {
        weft_task *task = wf_deque_steal(&w->fresh);
        if (!task)
            break;
        if (last)
            last->next = task;
        else
            first = task;
        last = task;
        n++;
    }
    wf_count(&w->spills, n);
    if (n > 0)
        wf_inject_push_all(&w->rt->inject, first, last, n);
}

void wf_schedule_fresh_slow(wf_worker *w, weft_task *task)
{
    if (wf_unlikely(wf_task_is(task, WF_TASK_WATCHED)))
        wf_watch_spawn(w, task);
    if (!w) {
        publish(task->rt, task);
        return;
    }
    if (wf_task_is(task, WF_TASK_PINNED)) {
        schedule_pinned(w, task);
        return;
    }
    while (!wf_deque_push(&w->fresh, task))
        spill_fresh(w);
    if (!w->alone)
        wf_idle_notify_backlog(w);
}

/* The older half of the woken goes there too. Never inlined: wakes happen on strands' stacks, and its frame is large. */
WF_NOINLINE static void spill_woken(wf_worker *w)
{
    weft_task *batch[WF_RUNQ_CAPACITY / 2];
    uint32_t n = wf_ring_steal(&w->woken, batch, WF_RUNQ_CAPACITY / 2);
    for (uint32_t i = 0; i + 1 < n; i++)
        batch[i]->next = batch[i + 1];
    wf_count(&w->spills, n);
    if (n > 0) /* else thieves were faster, and there is room now */
        wf_inject_push_all(&w->rt->inject, batch[0], batch[n - 1], n);
}

/* Woken tasks keep the order of their wakes. */
WF_INLINE void push_woken(wf_worker *w, weft_task *task)
{
    while (wf_unlikely(!wf_ring_push(&w->woken, task)))
        spill_woken(w);
}

void wf_worker_note_time(wf_worker *w, int64_t now)
{
    uint64_t track = wf_track(wf_ticks(now), w->index);
    wf_note(&w->track, track);
    wf_note(&w->track_running, track | WF_TRACK_RUNNING);
}

void wf_worker_note_queued(wf_worker *w, weft_task *task)
{
    uint32_t ticks = w ? wf_track_since(wf_noted(&w->track)) : wf_ticks(wf_now_coarse());
    unsigned worker = w ? w->index : WF_TRACK_NOBODY;
    if (wf_task_is(task, WF_TASK_PINNED))
        worker = wf_track_worker(wf_noted(&task->track));
    wf_note(&task->track, wf_track(ticks, worker));
}

/* One that only its own worker polls, or whose wake a hook hears of. True: it has been queued. */
WF_NOINLINE static bool schedule_special(wf_worker *w, weft_task *task)
{
    wf_worker_note_queued(w, task);
    tell_of_wake(w, task);
    if (!wf_task_is(task, WF_TASK_PINNED))
        return false;
    schedule_pinned(w, task);
    return true;
}

/* What is only measured goes the quick way. */
WF_INLINE bool queue_special(wf_worker *w, weft_task *task)
{
    if (wf_noted(&task->flags) & (WF_TASK_PINNED | WF_TASK_WATCHED)) /* read anew, which is cheaper for those who need not */
        return schedule_special(w, task);
    wf_note(&task->track, wf_noted(&w->track));
    wf_watch_stamp(task);
    return false;
}

WF_INLINE void schedule_again(wf_worker *w, weft_task *task)
{
    WF_PROBE1(wake, task->id.v);
    if (wf_likely(!wf_task_is(task, WF_TASK_PINNED | WF_TASK_WATCHED | WF_TASK_MEASURED)))
        wf_note(&task->track, wf_noted(&w->track));
    else if (queue_special(w, task))
        return;
    push_woken(w, task);
    if (!w->alone)
        wf_idle_notify_backlog(w);
}

void wf_schedule_again(wf_worker *w, weft_task *task) { schedule_again(w, task); }

void wf_schedule_woken(weft_task *task)
{
    wf_exec *exec = wf_exec_peek();
    wf_worker *w = exec ? exec->worker : NULL;
    if (w && exec == &w->exec) /* one of a batch of events, not what a strand wakes and leaves its worker to */
        wf_strand_expect(task);
    if (wf_unlikely(!w || w->rt != task->rt))
        schedule_foreign(task->rt, task);
    else
        schedule_again(w, task);
}

/* ---- choosing ------------------------------------------------------------------------------------------------ */

static void collect_pinned_mail(wf_worker *w)
{
    for (wf_letter *l = wf_mailbox_take(&w->pinned_mail), *next; l; l = next) {
        next = l->next;
        push_pinned(w, wf_container(l, weft_task, letter));
        wf_count(&w->mailed, 1);
    }
}

static weft_task *pop_pinned(wf_worker *w)
{
    weft_task *task = w->pinned_first;
    if (task) {
        w->pinned_first = task->next;
        wf_count(&w->pinned, -1);
        if (!task->next)
            w->pinned_last = NULL;
    }
    return task;
}

/* One to run now, a fair share of the rest into the own queue. */
static weft_task *pop_inject(wf_worker *w)
{
    weft_task *batch[WF_RUNQ_CAPACITY / 2];
    uint64_t share = wf_inject_len(&w->rt->inject) / w->rt->count + 1;
    uint64_t most = WF_MIN(wf_ring_room(&w->woken), WF_RUNQ_CAPACITY / 2);
    uint32_t n = wf_inject_pop(&w->rt->inject, batch, (uint32_t)WF_MAX(1, WF_MIN(share, most)));
    for (uint32_t i = 1; i < n; i++)
        push_woken(w, batch[i]);
    return n > 0 ? batch[0] : NULL;
}

/* Of the room in the queue, half is for the inject queue if that has something: a full queue would let in one task at a time. */
static uint32_t room_for_events(wf_worker *w)
{
    uint64_t waiting = wf_load_rlx(&w->rt->inject.len), room = wf_ring_room(&w->woken);
    return (uint32_t)(room - WF_MIN(waiting, room / 2));
}

/* Everything that is not a task: what the kernel and the clock have to say, and whether a neighbour is stuck. */
static void look_around(wf_worker *w)
{
    int64_t now = w->now = wf_now();
    w->looked_at = wf_cycles();
    wf_store_rlx(&w->seen_at, now);
    wf_worker_note_time(w, now);
    wf_note(&w->polling, NULL);
    if (w->tick_seen != w->polls.v) {
        w->tick_seen = w->polls.v;
        wf_idle_note_activity(w->rt, now);
    }
    wf_reactor_turn(&w->reactor, now, room_for_events(w));
    wf_timers_expire(&w->timers, wf_worker_time(w, now));
    collect_pinned_mail(w);
    if (!w->alone)
        wf_idle_rescue(w, now);
    if (wf_unlikely(now >= w->tidy_at) && !w->rt->clock)
        wf_worker_tidy(w, now);
}

/* First the task that was lent, which nobody else can get at, then the one that lent it, which others take if this worker gets
 * stuck in between. */
static weft_task *pop_lent(wf_worker *w)
{
    weft_task *task = w->lent;
    w->lent = NULL;
    return task || !wf_load_rlx(&w->lender) ? task : wf_swap_acqrel(&w->lender, NULL);
}

bool wf_worker_may_lend(wf_exec *exec, weft_task *task)
{
    enum { IN_A_ROW = 16 };
    wf_worker *w = exec->worker;
    if (!w || !exec->body->stack || wf_task_is(exec->task, WF_TASK_PINNED | WF_TASK_WATCHED) || w->lent ||
        wf_load_rlx(&w->lender))
        return false;
    if (w->lends >= IN_A_ROW || !wf_deque_pop_if(&w->fresh, task))
        return false;
    w->lends++;
    w->lent = task;
    return true;
}

/* Every third choice at the least is a pinned one's, and never more where others wait. */
static bool pinned_turn(wf_worker *w)
{
    if (!w->pinned_first)
        return false;
    w->pinned_turn = (w->pinned_turn + 1) % 3;
    return w->pinned_turn == 0;
}

/* In a long queue what the wake asked for is gone again by the time that a task has its turn. Only where nobody steals: one that is stolen may be
 * gone altogether. */
static void expect_next(wf_worker *w)
{
    enum { LONG = 8 };
    if (w->alone && wf_ring_len(&w->woken) >= LONG)
        wf_strand_expect(wf_ring_first(&w->woken));
}

static weft_task *pop_own(wf_worker *w)
{
    weft_task *task;
    if (wf_unlikely(pinned_turn(w)))
        return pop_pinned(w);
    w->fresh_turn = !w->fresh_turn;
    if (w->fresh_turn && (task = wf_deque_pop(&w->fresh)))
        return task;
    if ((task = wf_ring_pop(&w->woken, w->alone))) {
        expect_next(w);
        return task;
    }
    if (!w->fresh_turn && (task = wf_deque_pop(&w->fresh)))
        return task;
    return pop_pinned(w);
}

/* Of the thread. A system call, so not asked lightly. */
static int64_t cpu_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * WEFT_SEC + t.tv_nsec;
}

/* Newest first would leave the oldest for ever where the new keep coming. But each time it begins another branch of what is
 * spawned, with stacks of its own: so not more often than this, also in CPU time. A worker that gets little of that would else have the
 * more stacks the less it gets on. */
static weft_task *pop_oldest(wf_worker *w)
{
    enum { PATIENCE = 5 * 1000 * 1000 };
    if (w->now - w->oldest_at < PATIENCE)
        return NULL;
    int64_t cpu = cpu_time(), got = cpu - w->oldest_cpu; /* less than nothing: the worker has another thread */
    if (got >= 0 && got < PATIENCE) {
        w->oldest_at = w->now - got; /* again when it can have got the rest */
        return NULL;
    }
    w->oldest_at = w->now;
    w->oldest_cpu = cpu;
    return wf_deque_steal(&w->fresh);
}

WF_NOINLINE static weft_task *look_after_neglected(wf_worker *w)
{
    if (w->moment > 0 && wf_cycles() - w->looked_at < w->moment)
        return NULL; /* all those polls were over in a moment */
    look_around(w);
    w->oldest_turn = !w->oldest_turn && !w->orderly;
    weft_task *oldest = w->oldest_turn ? pop_oldest(w) : NULL;
    return oldest ? oldest : pop_inject(w);
}

/* Now and then the neglected come first: those in the inject queue, and the oldest of the fresh. By the clock, or, where the
 * order is to be repeatable, by counting. */
WF_INLINE weft_task *pop_neglected(wf_worker *w)
{
    if (wf_unlikely(w->tick % WF_TURN_EVERY == 0))
        return look_after_neglected(w);
    return w->orderly && w->tick % WF_OLDEST_EVERY == 0 ? wf_deque_steal(&w->fresh) : NULL;
}

static weft_task *steal_from(wf_worker *w, wf_worker *victim)
{
    weft_task *batch[WF_RUNQ_CAPACITY / 2];
    uint32_t n = wf_ring_steal(&victim->woken, batch, WF_RUNQ_CAPACITY / 2);
    for (uint32_t i = 1; i < n; i++)
        push_woken(w, batch[i]);
    weft_task *task = n > 0 ? batch[0] : wf_deque_steal(&victim->fresh);
    if (!task && wf_load_rlx(&victim->lender) && wf_idle_is_stuck(victim, wf_now()))
        task = wf_swap_acqrel(&victim->lender, NULL);
    if (task)
        wf_count(&w->steals, WF_MAX(n, 1));
    return task;
}

static weft_task *steal(wf_worker *w)
{
    weft_runtime *rt = w->rt;
    uint32_t start = wf_rng_below(&w->rng, rt->count);
    int64_t now = wf_now();
    for (uint32_t i = 0; i < rt->count; i++) {
        wf_worker *victim = rt->workers[(start + i) % rt->count];
        weft_task *task = victim != w && wf_idle_may_steal(victim, now) ? steal_from(w, victim) : NULL;
        if (task)
            return task;
    }
    return pop_inject(w);
}

static weft_task *search(wf_worker *w)
{
    if (!wf_idle_search_begin(w))
        return NULL;
    weft_task *task = steal(w);
    if (task)
        wf_idle_search_end(w, true);
    return task;
}

WF_INLINE weft_task *next_task(wf_worker *w)
{
    weft_task *task;
    w->tick++;
    if ((task = pop_lent(w)))
        return task;
    w->lends = 0;
    if ((task = pop_neglected(w)) || (task = pop_own(w)) || (task = pop_inject(w)))
        return task;
    look_around(w);
    if ((task = pop_own(w)) || (task = pop_inject(w)))
        return task;
    return w->alone ? NULL : search(w);
}

/* ---- the loop ------------------------------------------------------------------------------------------------ */

bool wf_worker_is_leaving(wf_worker *w)
{
    return wf_load_seq(&w->rt->phase) >= WF_STOPPED || (w->until && w->until(w->until_arg));
}

/* A strand that was never polled has its argument where others have the time of their wake. */
WF_INLINE void tell_of_poll(wf_worker *w, weft_task *task, unsigned watched)
{
    if (watched & WF_TASK_MEASURED && (wf_task_strand(task) || !wf_task_is(task, WF_TASK_STRAND)))
        wf_watch_polled(w, task);
    if (watched & WF_TASK_WATCHED && wf_task_is(task, WF_TASK_WATCHED))
        wf_watch_poll_begin(w, task);
}

/* Returns where to go on, or NULL if that is done. A strand that has begun hears of an abort from its awaits. */
WF_INLINE wf_ctx *poll(wf_worker *w, weft_task *task, unsigned watched)
{
    uint64_t word = wf_state_poll_begin(&task->state);
    wf_strand *s = wf_task_strand(task);
    if (watched && (s || !(word & WF_S_ABORT))) /* else it is cancelled, unpolled */
        tell_of_poll(w, task, watched);
    if (!s)
        return wf_task_poll(w, task, word);
    wf_task_polled(w, task);
    WF_PROBE1(poll_begin, task->id.v);
    return wf_strand_enter(w, s);
}

static weft_left left_for(int left)
{
    return left == WF_STRAND_PARKED ? WEFT_LEFT_WAITING : left == WF_STRAND_ENDED ? WEFT_LEFT_ENDED : WEFT_LEFT_READY;
}

/* @watched: constant, and at least what the runtime's tasks are. */
WF_INLINE void poll_while_here(wf_worker *w, unsigned watched)
{
    while (!wf_worker_is_leaving(w)) {
        weft_task *task = next_task(w);
        if (wf_unlikely(!task)) {
            wf_idle_park(w);
            continue;
        }
        if (wf_unlikely(w->searching))
            wf_idle_search_end(w, true);
        wf_ctx *strand = poll(w, task, watched);
        if (!strand)
            continue;
        int left = (int)(intptr_t)wf_ctx_switch(&w->ctx, strand, NULL);
        if (watched & WF_TASK_WATCHED && wf_task_is(task, WF_TASK_WATCHED)) {
            wf_exec_set(&w->exec);
            wf_watch_poll_end(w, task, left_for(left));
        }
        wf_task_left(w, task, left);
    }
}

/* Apart from the setjmp, which would keep everything in memory. */
WF_NOINLINE static void poll_until_leaving(wf_worker *w) { poll_while_here(w, 0); }
WF_NOINLINE static void poll_and_measure_until_leaving(wf_worker *w) { poll_while_here(w, WF_TASK_MEASURED); }
WF_NOINLINE static void poll_and_tell_until_leaving(wf_worker *w)
{
    poll_while_here(w, WF_TASK_WATCHED | WF_TASK_MEASURED);
}

void wf_worker_run(wf_worker *w, bool (*until)(void *), void *arg)
{
    w->until = until;
    w->until_arg = arg;
    if (_setjmp(w->recover)) /* a stackless poll panicked: back on this stack, as if it had returned */
        wf_task_poll_panicked(w, w->exec.task, w->panic_text);
    if (w->born_flags & WF_TASK_WATCHED)
        poll_and_tell_until_leaving(w);
    else if (w->born_flags)
        poll_and_measure_until_leaving(w);
    else
        poll_until_leaving(w);
    if (w->searching)
        wf_idle_search_end(w, false);
}

/* ---- coming and going ---------------------------------------------------------------------------------------- */

static int no_interruption(wf_exec *self)
{
    (void)self;
    return 0;
}

WEFT_NORETURN static void loop_panic(wf_exec *self, const char *text)
{
    wf_worker *w = self->worker;
    snprintf(w->panic_text, sizeof w->panic_text, "%s", text); /* it lies in a frame that is about to go */
    _longjmp(w->recover, 1);
}

static const wf_exec_ops loop_ops = {.interruption = no_interruption, .panic = loop_panic};

/* What the events of a sleep wake is queued now, and not since it fell asleep. */
static void woke_up(void *worker) { wf_worker_note_time(worker, wf_now_coarse()); }

int wf_worker_open(wf_worker *w, weft_runtime *rt, unsigned index)
{
    memset(w, 0, sizeof *w);
    w->rt = rt;
    w->index = index;
    w->alone = rt->count == 1;
    w->exec = (wf_exec){
        .ops = &loop_ops, .rt = rt, .worker = w, .body = &w->body, .timers = &w->timers, .clock = rt->clock, .chance = rt->chance};
    w->body.ctx = &w->ctx;
    w->exec.cx.exec = &w->exec;
    w->exec.waits = &w->exec.unread;
    w->born_flags = rt->watched;
    w->orderly = rt->options.seed != 0;
    w->moment = w->orderly ? 0 : wf_cycles_of_us(LOOK_US);
    w->patience.moment = rt->cpu_each ? wf_cycles_of_us(WATCH_US) : 0;
    wf_rng_seed(&w->rng, rt->options.seed ? rt->options.seed + index : (uint64_t)wf_now() ^ (uintptr_t)w);
    int err = wf_stack_cache_init(&w->stacks, rt->options.stack_size);
    if (err < 0)
        return err;
    wf_timers_init(&w->timers, wf_worker_time(w, wf_now()));
    int64_t now = wf_now();
    wf_store_rlx(&w->seen_at, now);
    w->began = now;
    wf_store_rlx(&w->rest, now);
    wf_worker_note_time(w, now);
    wf_watch_open(w);
    if ((err = wf_reactor_open(&w->reactor)) < 0)
        return err;
    w->reactor.told = rt->options.hooks.ready ? wf_watch_ready : NULL;
    w->reactor.teller = w;
    w->reactor.awake = woke_up;
    return 0;
}

int wf_worker_close(wf_worker *w)
{
    wf_stack_cache_flush(&w->stacks);
    wf_header_flush(w->rt->heap, &w->headers);
    free(w->exec.detail);
    return wf_reactor_close(&w->reactor);
}

/* A worker without a thread sleeps, too. */
void wf_worker_note_awake(wf_worker *w, int64_t now) { wf_note(&w->rest, wf_noted(&w->rest) - now); }

void wf_worker_note_asleep(wf_worker *w, int64_t now) { wf_note(&w->rest, wf_noted(&w->rest) + now); }

void wf_worker_enter(wf_worker *w)
{
    wf_ctx_init_thread(&w->ctx);
    bool has_stack = wf_segv_thread_enter(&w->segv) == 0;
    wf_exec_set(&w->exec);
    if (has_stack)
        wf_sampled_enter(w, __builtin_frame_address(0));
    wf_note(&w->thread_id, (int)syscall(SYS_gettid));
    wf_worker_note_awake(w, wf_now());
}

void wf_worker_leave(wf_worker *w)
{
    wf_worker_note_asleep(w, wf_now());
    wf_note(&w->polling, NULL);
    wf_note(&w->thread_id, 0);
    wf_sampled_leave(w);
    wf_segv_thread_leave(&w->segv);
}
