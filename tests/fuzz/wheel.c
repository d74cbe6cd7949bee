/* wheel.c - the timer wheel against a search through all nodes, in 128 bits.
 *
 *   header: where the clock starts    then: insert, remove, pop, pop all */
#include "fuzz.h"
#include <stdlib.h>
#include <timer/wheel.h>

enum { NODES = 48, STEPS = 2000 };

#define TICK ((__int128)WF_WHEEL_TICK_NS)

typedef struct model {
    wf_wheel wheel;
    wf_wnode nodes[NODES];
    __int128 due[NODES]; /* in ticks from the clock's zero */
    uint64_t turn[NODES];
    uint64_t turns;
    __int128 now; /* in ticks */
    int64_t clock;
} model;

/* ---- the model ------------------------------------------------------------------------------------------------- */

static __int128 floor_tick(int64_t ns)
{
    __int128 n = ns, rest = n % TICK;
    return (n - (rest < 0 ? rest + TICK : rest)) / TICK;
}

static __int128 ceil_tick(int64_t ns) { return floor_tick(ns) + (floor_tick(ns) * TICK != ns); }

static int64_t in_reach(__int128 tick)
{
    __int128 ns = tick * TICK;
    return ns > INT64_MAX ? INT64_MAX : ns < INT64_MIN ? INT64_MIN : (int64_t)ns;
}

/* Of those that are in: the first in the order of ticks, then of their insertion; -1: there is none. */
static int first_due(const model *m)
{
    int first = -1;
    for (int i = 0; i < NODES; i++)
        if (m->turn[i] &&
            (first < 0 || m->due[i] < m->due[first] || (m->due[i] == m->due[first] && m->turn[i] < m->turn[first])))
            first = i;
    return first;
}

static size_t count(const model *m)
{
    size_t n = 0;
    for (int i = 0; i < NODES; i++)
        n += m->turn[i] > 0;
    return n;
}

/* ---- numbers --------------------------------------------------------------------------------------------------- */

/* Near the present, near where a digit of some level changes, or anywhere. */
static int64_t time_of(fuzz_input *in, const model *m)
{
    unsigned how = fuzz_below(in, 6);
    __int128 ns = m->clock;
    if (how == 0)
        return (int64_t)fuzz_number(in, 8);
    if (how == 1)
        ns = (floor_tick(m->clock) | (((__int128)1 << 6 * fuzz_below(in, 8)) - 1)) * TICK;
    ns += (__int128)(int64_t)fuzz_number(in, how == 5 ? 6 : how) * (how % 2 ? TICK : TICK / 4);
    ns += (int8_t)fuzz_byte(in);
    return ns > INT64_MAX ? INT64_MAX : ns < INT64_MIN ? INT64_MIN : (int64_t)ns;
}

/* ---- the steps ------------------------------------------------------------------------------------------------- */

static void insert(model *m, fuzz_input *in)
{
    unsigned i = fuzz_below(in, NODES);
    int64_t when = time_of(in, m);
    wf_wheel_insert(&m->wheel, &m->nodes[i], when);
    m->due[i] = WF_MAX(ceil_tick(when), m->now);
    m->turn[i] = ++m->turns;
}

static void take_out(model *m, fuzz_input *in)
{
    unsigned i = fuzz_below(in, NODES);
    wf_wheel_remove(&m->wheel, &m->nodes[i]);
    m->turn[i] = 0;
}

/* False: nothing is due. */
static bool pop(model *m, int64_t now)
{
    __int128 target = WF_MAX(floor_tick(now), m->now);
    int first = first_due(m);
    bool due = first >= 0 && m->due[first] <= target;
    wf_wnode *n = wf_wheel_pop(&m->wheel, now);
    FUZZ_EXPECT(n == (due ? &m->nodes[first] : NULL), "%td and not %d", n ? n - m->nodes : -1, due ? first : -1);
    m->now = due ? m->due[first] : target;
    if (due)
        m->turn[first] = 0;
    else
        FUZZ_EXPECT(wf_wheel_next(&m->wheel) > now || now == WEFT_FOREVER);
    return due;
}

static void advance(model *m, fuzz_input *in, bool all)
{
    m->clock = time_of(in, m);
    while (pop(m, m->clock) && all)
        ;
}

/* ---- what always holds ----------------------------------------------------------------------------------------- */

static void check_next(const model *m)
{
    int first = first_due(m);
    int64_t next = wf_wheel_next(&m->wheel);
    if (first < 0) {
        FUZZ_EXPECT(next == WEFT_FOREVER);
        return;
    }
    int64_t due = in_reach(m->due[first]);
    FUZZ_EXPECT(next <= due, "sleeps too long");
    FUZZ_EXPECT(next == due || m->due[first] >> 6 != m->now >> 6, "inexact in the current block");
    FUZZ_EXPECT(next == due || count(m) > 1, "inexact and alone");
}

static void check(const model *m)
{
    FUZZ_EXPECT(wf_wheel_check(&m->wheel));
    FUZZ_EXPECT(wf_wheel_count(&m->wheel) == count(m));
    FUZZ_EXPECT(wf_wheel_time(&m->wheel) == in_reach(m->now));
    for (int i = 0; i < NODES; i++)
        FUZZ_EXPECT(wf_wnode_linked(&m->nodes[i]) == (m->turn[i] > 0));
    check_next(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static model m;
    fuzz_input in = fuzz_open(data, size);
    m = (model){.clock = (int64_t)fuzz_number(&in, 8)};
    m.now = floor_tick(m.clock);
    wf_wheel_init(&m.wheel, m.clock);
    for (int i = 0; i < STEPS && fuzz_left(&in) > 0; i++) {
        unsigned what = fuzz_below(&in, 6);
        if (what < 3)
            insert(&m, &in);
        else if (what == 3)
            take_out(&m, &in);
        else
            advance(&m, &in, what == 5);
        check(&m);
    }
    return 0;
}
