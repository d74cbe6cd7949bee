/* runq_test.c - the run queues: their orders, their edges, and each task exactly once while thieves are about.
 *
 * The tasks are headers that nobody polls. The stress preset runs all of this with a capacity of 4. */
#include <runtime/runq.h>
#include <pthread.h>
#include <sched.h>
#include <support/test.h>

enum { CAPACITY = WF_RUNQ_CAPACITY, MANY = 200000, THIEVES = 3 };

static weft_task tasks[3 * CAPACITY + 8];

static size_t number_of(const weft_task *task) { return (size_t)(task - tasks); }

/* ---- fresh --------------------------------------------------------------------------------------------------- */

Test(deque, empty_gives_nothing_to_anybody)
{
    wf_deque q = {.top = {0}};
    cr_assert_null(wf_deque_pop(&q));
    cr_assert_null(wf_deque_steal(&q));
    cr_assert_eq(wf_deque_len(&q), 0);
}

Test(deque, the_owner_takes_the_newest_and_a_thief_the_oldest)
{
    wf_deque q = {.top = {0}};
    for (int i = 0; i < 4; i++)
        cr_assert(wf_deque_push(&q, &tasks[i]));
    cr_assert_eq(wf_deque_len(&q), 4);
    cr_assert_eq(number_of(wf_deque_pop(&q)), 3u);
    cr_assert_eq(number_of(wf_deque_steal(&q)), 0u);
    cr_assert_eq(number_of(wf_deque_steal(&q)), 1u);
    cr_assert_eq(number_of(wf_deque_pop(&q)), 2u);
    cr_assert_null(wf_deque_pop(&q));
    cr_assert_null(wf_deque_steal(&q));
}

Test(deque, the_last_one_is_popped_once)
{
    wf_deque q = {.top = {0}};
    wf_deque_push(&q, &tasks[0]);
    cr_assert_eq(wf_deque_pop(&q), &tasks[0]);
    cr_assert_null(wf_deque_steal(&q));
    cr_assert_null(wf_deque_pop(&q));
    wf_deque_push(&q, &tasks[1]);
    cr_assert_eq(wf_deque_steal(&q), &tasks[1]);
    cr_assert_null(wf_deque_pop(&q));
    cr_assert_null(wf_deque_steal(&q));
}

Test(deque, the_owner_takes_back_the_newest_only_if_it_is_the_one_it_means)
{
    wf_deque q = {.top = {0}};
    cr_assert_not(wf_deque_pop_if(&q, &tasks[0]));
    wf_deque_push(&q, &tasks[0]);
    wf_deque_push(&q, &tasks[1]);
    cr_assert_not(wf_deque_pop_if(&q, &tasks[0]), "older");
    cr_assert_eq(wf_deque_len(&q), 2);
    cr_assert(wf_deque_pop_if(&q, &tasks[1]));
    cr_assert_not(wf_deque_pop_if(&q, &tasks[1]), "gone already");
    cr_assert(wf_deque_pop_if(&q, &tasks[0]));
    cr_assert_not(wf_deque_pop_if(&q, &tasks[0]), "its slot still holds it, the queue does not");
    wf_deque_push(&q, &tasks[2]);
    cr_assert_eq(wf_deque_steal(&q), &tasks[2]);
    cr_assert_not(wf_deque_pop_if(&q, &tasks[2]), "stolen");
    cr_assert_eq(wf_deque_len(&q), 0);
}

Test(deque, full_refuses_and_keeps_what_it_has_until_one_is_taken_at_either_end)
{
    for (int thief = 0; thief < 2; thief++) {
        wf_deque q = {.top = {0}};
        for (int i = 0; i < CAPACITY; i++)
            cr_assert(wf_deque_push(&q, &tasks[i]), "%d", i);
        cr_assert_not(wf_deque_push(&q, &tasks[CAPACITY]));
        cr_assert_eq(wf_deque_len(&q), CAPACITY);
        cr_assert_eq(number_of(thief ? wf_deque_steal(&q) : wf_deque_pop(&q)), thief ? 0u : CAPACITY - 1u);
        cr_assert(wf_deque_push(&q, &tasks[CAPACITY]));
        cr_assert_not(wf_deque_push(&q, &tasks[CAPACITY + 1]));
        cr_assert_eq(number_of(wf_deque_pop(&q)), (size_t)CAPACITY);
    }
}

Test(deque, a_full_one_is_stolen_oldest_first)
{
    wf_deque q = {.top = {0}};
    for (int i = 0; i < CAPACITY; i++)
        wf_deque_push(&q, &tasks[i]);
    for (int i = 0; i < CAPACITY; i++)
        cr_assert_eq(number_of(wf_deque_steal(&q)), (size_t)i);
    cr_assert_null(wf_deque_steal(&q));
}

/* Push three, steal one, pop one, and so on: around the slots many times, against a plain list. */
Test(deque, around_the_slots_many_times_matches_a_plain_list)
{
    wf_deque q = {.top = {0}};
    weft_task *list[CAPACITY];
    int n = 0;
    for (int round = 0; round < 20 * CAPACITY; round++) {
        for (int i = 0; i < 3; i++) {
            weft_task *t = &tasks[(round * 3 + i) % CAPACITY];
            bool room = n < CAPACITY;
            cr_assert_eq(wf_deque_push(&q, t), room);
            if (room)
                list[n++] = t;
        }
        cr_assert_eq(wf_deque_steal(&q), list[0]);
        memmove(list, list + 1, (size_t)--n * sizeof *list);
        cr_assert_eq(wf_deque_pop(&q), list[--n]);
        cr_assert_eq(wf_deque_len(&q), n);
    }
}

/* ---- woken --------------------------------------------------------------------------------------------------- */

Test(ring, empty_gives_nothing_to_anybody)
{
    wf_ring q = {.head = {0}};
    weft_task *out[CAPACITY];
    cr_assert_null(wf_ring_pop(&q, false));
    cr_assert_null(wf_ring_pop(&q, true));
    cr_assert_eq(wf_ring_steal(&q, out, CAPACITY), 0u);
    cr_assert_eq(wf_ring_len(&q), 0u);
}

Test(ring, the_owner_takes_in_the_order_of_the_wakes_alone_or_not)
{
    for (int alone = 0; alone < 2; alone++) {
        wf_ring q = {.head = {0}};
        for (int i = 0; i < CAPACITY; i++)
            cr_assert(wf_ring_push(&q, &tasks[i]));
        for (int i = 0; i < CAPACITY; i++) {
            cr_assert_eq(wf_ring_len(&q), (uint32_t)(CAPACITY - i));
            cr_assert_eq(number_of(wf_ring_pop(&q, alone)), (size_t)i);
        }
        cr_assert_null(wf_ring_pop(&q, alone));
    }
}

Test(ring, full_refuses_and_keeps_what_it_has)
{
    wf_ring q = {.head = {0}};
    for (int i = 0; i < CAPACITY; i++)
        cr_assert(wf_ring_push(&q, &tasks[i]));
    cr_assert_not(wf_ring_push(&q, &tasks[CAPACITY]));
    cr_assert_eq(wf_ring_len(&q), (uint32_t)CAPACITY);
    cr_assert_eq(number_of(wf_ring_pop(&q, false)), 0u);
    cr_assert(wf_ring_push(&q, &tasks[CAPACITY]));
    cr_assert_not(wf_ring_push(&q, &tasks[CAPACITY + 1]));
    for (int i = 1; i <= CAPACITY; i++)
        cr_assert_eq(number_of(wf_ring_pop(&q, false)), (size_t)i);
}

Test(ring, a_thief_takes_the_older_half_rounded_up_in_order)
{
    for (int n = 1; n <= CAPACITY; n++) {
        wf_ring q = {.head = {0}};
        weft_task *out[CAPACITY];
        for (int i = 0; i < n; i++)
            wf_ring_push(&q, &tasks[i]);
        uint32_t half = (uint32_t)(n + 1) / 2;
        cr_assert_eq(wf_ring_steal(&q, out, CAPACITY), half, "of %d", n);
        for (uint32_t i = 0; i < half; i++)
            cr_assert_eq(number_of(out[i]), i);
        cr_assert_eq(wf_ring_len(&q), (uint32_t)n - half);
        for (uint32_t i = half; i < (uint32_t)n; i++)
            cr_assert_eq(number_of(wf_ring_pop(&q, false)), i);
    }
}

Test(ring, a_thief_takes_no_more_than_it_asked_for)
{
    wf_ring q = {.head = {0}};
    weft_task *out[2] = {NULL, &tasks[CAPACITY]};
    for (int i = 0; i < CAPACITY; i++)
        wf_ring_push(&q, &tasks[i]);
    cr_assert_eq(wf_ring_steal(&q, out, 1), 1u);
    cr_assert_eq(out[0], &tasks[0]);
    cr_assert_eq(out[1], &tasks[CAPACITY], "untouched");
    cr_assert_eq(wf_ring_len(&q), CAPACITY - 1u);
}

/* The indices are 32 bits wide: begin shortly before they wrap. */
Test(ring, around_the_slots_and_around_the_indices_the_order_stays)
{
    uint32_t start = (uint32_t)-2 * CAPACITY;
    wf_ring q = {.head = {start}, .tail = {start}};
    size_t pushed = 0, taken = 0;
    for (int round = 0; round < 20 * CAPACITY; round++) {
        weft_task *out[CAPACITY];
        while (wf_ring_push(&q, &tasks[pushed % (3 * CAPACITY)]))
            pushed++;
        cr_assert_eq(pushed - taken, (size_t)CAPACITY);
        cr_assert_eq(wf_ring_len(&q), (uint32_t)CAPACITY);
        cr_assert_eq(number_of(wf_ring_pop(&q, false)), taken++ % (3 * CAPACITY));
        uint32_t n = wf_ring_steal(&q, out, CAPACITY / 2);
        cr_assert_eq(n, CAPACITY / 2u);
        for (uint32_t i = 0; i < n; i++)
            cr_assert_eq(number_of(out[i]), taken++ % (3 * CAPACITY));
    }
    cr_assert_lt(q.head.v, start, "it has wrapped");
}

/* ---- inject -------------------------------------------------------------------------------------------------- */

Test(inject, empty_gives_nothing)
{
    wf_inject q = {.first = NULL};
    weft_task *out[4];
    cr_assert_eq(wf_inject_pop(&q, out, 4), 0u);
    cr_assert_eq(wf_inject_len(&q), 0u);
}

Test(inject, single_ones_and_chains_come_out_in_order_in_portions)
{
    wf_inject q = {.first = NULL};
    weft_task *out[4];
    wf_inject_push(&q, &tasks[0]);
    for (int i = 1; i < 5; i++)
        tasks[i].next = &tasks[i + 1];
    tasks[5].next = &tasks[0]; /* whatever stood there */
    wf_inject_push_all(&q, &tasks[1], &tasks[5], 5);
    wf_inject_push(&q, &tasks[6]);
    cr_assert_eq(wf_inject_len(&q), 7u);
    size_t expected = 0;
    for (uint32_t portion = 4; portion > 0; portion = (uint32_t)wf_inject_len(&q)) {
        uint32_t n = wf_inject_pop(&q, out, portion);
        cr_assert_eq(n, portion);
        for (uint32_t i = 0; i < n; i++)
            cr_assert_eq(number_of(out[i]), expected++);
    }
    cr_assert_eq(expected, 7u);
    cr_assert_eq(wf_inject_pop(&q, out, 4), 0u);
}

Test(inject, emptied_and_filled_again_starts_over)
{
    wf_inject q = {.first = NULL};
    weft_task *out[4];
    for (int i = 0; i < 3; i++) {
        wf_inject_push(&q, &tasks[i]);
        cr_assert_eq(wf_inject_pop(&q, out, 4), 1u);
        cr_assert_eq(out[0], &tasks[i]);
        cr_assert_eq(wf_inject_pop(&q, out, 4), 0u);
    }
}

Test(inject, asked_for_none_gives_none)
{
    wf_inject q = {.first = NULL};
    weft_task *out[1] = {NULL};
    wf_inject_push(&q, &tasks[0]);
    cr_assert_eq(wf_inject_pop(&q, out, 0), 0u);
    cr_assert_null(out[0]);
    cr_assert_eq(wf_inject_len(&q), 1u);
}

/* ---- threads ------------------------------------------------------------------------------------------------- */

/* Each task is written by the owner before it is pushed and read by who takes it, with plain accesses. */
typedef struct theft {
    wf_deque deque;
    wf_ring ring;
    wf_inject inject;
    weft_task *all;
    size_t count;
    wf_a64 taken;   /* by everybody */
    wf_a64 stolen;  /* from deque or ring, by thieves */
    wf_a32 started; /* thieves */
} theft;

static void theft_init(theft *t)
{
    memset(t, 0, sizeof *t);
    t->count = wf_test_scale(MANY);
    t->all = calloc(t->count, sizeof *t->all);
    cr_assert_not_null(t->all);
}

/* `spare` is unused by the queues: how often it was seen. */
static size_t see(theft *t, weft_task *task)
{
    size_t i = (size_t)(task - t->all);
    cr_assert_lt(i, t->count);
    cr_assert_eq(task->id.v, i + 1, "what the owner wrote");
    cr_assert_eq(task->spare, 0u, "task %zu came out twice", i);
    task->spare = 1;
    wf_add_rlx(&t->taken, 1);
    return i;
}

static bool all_taken(theft *t) { return wf_load_rlx(&t->taken) == t->count; }

static void *steal_from_deque(void *arg)
{
    theft *t = arg;
    wf_add_rlx(&t->started, 1);
    for (unsigned tries = 0; !all_taken(t); tries++) {
        weft_task *task = wf_deque_steal(&t->deque);
        if (task) {
            see(t, task);
            wf_add_rlx(&t->stolen, 1);
        } else if (tries % 64 == 0) {
            sched_yield();
        }
    }
    return NULL;
}

/* Thieves' batches are consecutive and each thief sees ascending numbers: what is pushed in order is taken in order. */
static void *steal_from_ring(void *arg)
{
    theft *t = arg;
    weft_task *out[CAPACITY];
    size_t next = 0;
    wf_add_rlx(&t->started, 1);
    for (unsigned tries = 0; !all_taken(t); tries++) {
        uint32_t n = wf_ring_steal(&t->ring, out, CAPACITY / 2);
        for (uint32_t i = 0; i < n; i++) {
            size_t number = see(t, out[i]);
            cr_assert(i == 0 ? number >= next : number == next, "%zu instead of %zu", number, next);
            next = number + 1;
        }
        wf_add_rlx(&t->stolen, n);
        if (n == 0 && tries % 64 == 0)
            sched_yield();
    }
    return NULL;
}

static void start_thieves(theft *t, pthread_t *threads, void *(*steal)(void *))
{
    for (int i = 0; i < THIEVES; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, steal, t), 0);
    while (wf_load_rlx(&t->started) < THIEVES)
        sched_yield();
}

static void finish_theft(theft *t, pthread_t *threads)
{
    while (!all_taken(t))
        sched_yield();
    for (int i = 0; i < THIEVES; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < t->count; i++)
        cr_assert_eq(t->all[i].spare, 1u, "task %zu was lost", i);
    cr_assert_eq(t->taken.v, t->count);
    free(t->all);
}

/* Thieves take their share while the owner goes on, also where there are more threads than processors: it waits for them, with
 * something to steal in its queue, and then they are running. */
static weft_task *fresh_task(theft *t, size_t i)
{
    enum { SHARE = 32 };
    unsigned tries = 0;
    while (wf_load_rlx(&t->stolen) * SHARE < i && wf_deque_len(&t->deque) + wf_ring_len(&t->ring) > 0) {
        wf_cpu_relax();
        if (++tries % 256 == 0)
            sched_yield();
    }
    wf_note(&t->all[i].id, i + 1);
    return &t->all[i];
}

Test(runq_threads, an_owner_that_pushes_and_pops_at_the_newest_end_against_three_thieves)
{
    static theft t;
    pthread_t thieves[THIEVES];
    theft_init(&t);
    start_thieves(&t, thieves, steal_from_deque);
    for (size_t i = 0; i < t.count; i++) {
        weft_task *task = fresh_task(&t, i), *mine;
        while (!wf_deque_push(&t.deque, task))
            if ((mine = wf_deque_pop(&t.deque)))
                see(&t, mine);
        if (i % 3 && (mine = wf_deque_pop(&t.deque))) /* mostly short: the last one is fought over */
            see(&t, mine);
        else if (i % 3 == 0 && i % 2 && wf_deque_pop_if(&t.deque, task))
            see(&t, task);
    }
    for (weft_task *mine; (mine = wf_deque_pop(&t.deque));)
        see(&t, mine);
    finish_theft(&t, thieves);
    cr_assert_eq(wf_deque_len(&t.deque), 0);
    cr_assert_gt(t.stolen.v, 0u);
}

Test(runq_threads, an_owner_that_hardly_pops_overflows_into_three_thieves)
{
    static theft t;
    pthread_t thieves[THIEVES];
    theft_init(&t);
    start_thieves(&t, thieves, steal_from_deque);
    for (size_t i = 0; i < t.count; i++) {
        weft_task *task = fresh_task(&t, i);
        while (!wf_deque_push(&t.deque, task))
            sched_yield(); /* full: only thieves make room */
    }
    finish_theft(&t, thieves);
    cr_assert_eq(t.stolen.v, t.count);
}

Test(runq_threads, an_owner_that_pushes_and_pops_in_order_against_three_thieves_of_halves)
{
    static theft t;
    pthread_t thieves[THIEVES];
    theft_init(&t);
    start_thieves(&t, thieves, steal_from_ring);
    size_t next = 0;
    for (size_t i = 0; i < t.count; i++) {
        weft_task *task = fresh_task(&t, i), *mine;
        bool full = !wf_ring_push(&t.ring, task);
        if ((full || i % 2) && (mine = wf_ring_pop(&t.ring, false))) {
            size_t number = see(&t, mine);
            cr_assert_geq(number, next, "the owner's order");
            next = number + 1;
        }
        if (full)
            while (!wf_ring_push(&t.ring, task))
                sched_yield();
    }
    for (weft_task *mine; (mine = wf_ring_pop(&t.ring, false));)
        see(&t, mine);
    finish_theft(&t, thieves);
    cr_assert_eq(wf_ring_len(&t.ring), 0u);
}

/* Overflow as a worker does it: half of the ring goes to the inject queue, in one chain, and everybody takes from there too. */
static void *take_from_ring_and_inject(void *arg)
{
    theft *t = arg;
    weft_task *out[CAPACITY];
    wf_add_rlx(&t->started, 1);
    while (!all_taken(t)) {
        uint32_t n = wf_inject_pop(&t->inject, out, CAPACITY / 2);
        if (n == 0) {
            n = wf_ring_steal(&t->ring, out, CAPACITY / 2);
            wf_add_rlx(&t->stolen, n);
        }
        for (uint32_t i = 0; i < n; i++)
            see(t, out[i]);
        if (n == 0)
            sched_yield();
    }
    return NULL;
}

static void push_or_overflow(theft *t, weft_task *task)
{
    weft_task *out[CAPACITY];
    while (!wf_ring_push(&t->ring, task)) {
        uint32_t n = wf_ring_steal(&t->ring, out, CAPACITY / 2);
        for (uint32_t i = 1; i < n; i++)
            out[i - 1]->next = out[i];
        if (n > 0)
            wf_inject_push_all(&t->inject, out[0], out[n - 1], n);
    }
}

Test(runq_threads, overflow_through_the_inject_queue_loses_nothing)
{
    static theft t;
    pthread_t thieves[THIEVES];
    theft_init(&t);
    start_thieves(&t, thieves, take_from_ring_and_inject);
    for (size_t i = 0; i < t.count; i++)
        push_or_overflow(&t, fresh_task(&t, i));
    finish_theft(&t, thieves);
    cr_assert_eq(wf_inject_len(&t.inject), 0u);
    cr_assert(t.inject.first == NULL && t.inject.last == NULL);
}

/* Two push, alone and in chains of three; two take; each taker sees each pusher's tasks in order. */
typedef struct pusher {
    theft *t;
    size_t from, to;
} pusher;

static void *push_singly_and_in_chains(void *arg)
{
    pusher *p = arg;
    for (size_t i = p->from; i < p->to;) {
        size_t n = WF_MIN(i % 2 ? 3u : 1u, p->to - i);
        for (size_t k = 0; k < n; k++) {
            weft_task *task = fresh_task(p->t, i + k);
            task->next = k + 1 < n ? task + 1 : task;
        }
        wf_inject_push_all(&p->t->inject, &p->t->all[i], &p->t->all[i + n - 1], n);
        i += n;
    }
    return NULL;
}

static void *take_in_order(void *arg)
{
    theft *t = arg;
    weft_task *out[5];
    size_t next[2] = {0, t->count / 2};
    while (!all_taken(t)) {
        uint32_t n = wf_inject_pop(&t->inject, out, 5);
        for (uint32_t i = 0; i < n; i++) {
            size_t number = see(t, out[i]);
            size_t *of_pusher = &next[number >= t->count / 2];
            cr_assert_geq(number, *of_pusher);
            *of_pusher = number + 1;
        }
        if (n == 0)
            sched_yield();
    }
    return NULL;
}

Test(runq_threads, two_pushers_and_two_takers_of_the_inject_queue_keep_each_pushers_order)
{
    static theft t;
    pthread_t threads[4];
    theft_init(&t);
    pusher pushers[2] = {{&t, 0, t.count / 2}, {&t, t.count / 2, t.count}};
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, push_singly_and_in_chains, &pushers[i]), 0);
        cr_assert_eq(pthread_create(&threads[2 + i], NULL, take_in_order, &t), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < t.count; i++)
        cr_assert_eq(t.all[i].spare, 1u, "task %zu was lost", i);
    cr_assert_eq(wf_inject_len(&t.inject), 0u);
    free(t.all);
}
