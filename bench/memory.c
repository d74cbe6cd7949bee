/* memory.c - resident bytes of each thing that a program has many of, and what a burst of tasks leaves behind.   memory [KIND [count]]
 *
 * Each kind in a process of its own, as what one leaves free would serve the next. All is counted that the process grows by: malloc's own
 * words, the future of a stackless task, the task that holds a connection. Of connections it is the server's side: the client is another process, and
 * what the kernel keeps for a socket is nobody's resident memory. A strand's stack is 256 KiB (small: 16 KiB) of which it touches one page.
 * scope: it lies on its owner's stack; the second figure is what a hundred of them take from the heap.
 * burst: 100,000 strands that all wait, then end. Resident memory before, with all of them, after the last, and after a second of quiet; and
 * the page tables, which no RSS shows. */
#include "bench_weft.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/socket.h>

enum { COUNT = 100000, CONNECTIONS = 8000, WARM_UP = 1000, SCOPES = 100 };

static unsigned long count;
static atomic_ulong waiting;

static void *allocate(size_t size)
{
    void *block = malloc(size);
    BENCH_CHECK(block);
    return block;
}

/* ---- tasks --------------------------------------------------------------------------------------------------- */

/* A task without a stack that waits in a cell that nobody wakes. */
struct sleeper {
    weft_future future;
    weft_atomic_waker waker;
};

static weft_poll sleeper_poll(weft_future *self, weft_context *cx, void **result)
{
    struct sleeper *s = WEFT_CONTAINER_OF(self, struct sleeper, future);
    (void)result;
    BENCH_CHECK(weft_atomic_waker_register(&s->waker, weft_context_waker(cx)) == 0);
    atomic_fetch_add(&waiting, 1);
    return WEFT_PENDING;
}

static void sleeper_drop(weft_future *self)
{
    struct sleeper *s = WEFT_CONTAINER_OF(self, struct sleeper, future);
    weft_waker waker;
    if (weft_atomic_waker_take(&s->waker, &waker))
        weft_waker_drop(&waker);
    free(s);
}

static const weft_future_ops sleeper_ops = {.poll = sleeper_poll, .drop = sleeper_drop};

static void spawn_sleeper(weft_group *group)
{
    weft_spawn_options options = WEFT_SPAWN_OPTIONS_INIT;
    struct sleeper *s = allocate(sizeof *s);
    options.group = group;
    s->future.ops = &sleeper_ops;
    weft_atomic_waker_init(&s->waker);
    BENCH_CHECK(weft_spawn_future_with(NULL, &options, &s->future) == 0);
}

static void *sleep_long(void *arg)
{
    atomic_fetch_add(&waiting, 1);
    weft_sleep(3600 * WEFT_SEC);
    return arg;
}

static void spawn_strand(size_t stack_size)
{
    weft_spawn_options options = WEFT_SPAWN_OPTIONS_INIT;
    options.stack_size = stack_size;
    BENCH_CHECK(weft_spawn_with(NULL, &options, sleep_long, NULL) == 0);
}

static void make_task(void) { spawn_sleeper(NULL); }
static void make_strand(void) { spawn_strand(0); }
static void make_small(void) { spawn_strand(16384); }

/* ---- what tasks use ------------------------------------------------------------------------------------------ */

static void make_chan(size_t capacity)
{
    weft_chan *ch;
    BENCH_CHECK(weft_chan_create(&ch, sizeof(void *), capacity) == 0);
}

static void make_chan_unbounded(void) { make_chan(WEFT_UNBOUNDED); }
static void make_chan_1(void) { make_chan(1); }
static void make_chan_16(void) { make_chan(16); }

static weft_group *create_group(void)
{
    weft_group *group;
    BENCH_CHECK(weft_group_create(&group) == 0);
    return group;
}

static void make_group(void) { create_group(); }
static void make_group_1(void) { spawn_sleeper(create_group()); }

static void make_oneshot(void)
{
    weft_oneshot *o;
    BENCH_CHECK(weft_oneshot_create(&o, sizeof(void *), NULL) == 0);
}

static void make_token(void)
{
    weft_token *t;
    BENCH_CHECK(weft_token_create(&t, NULL) == 0);
}

/* What the caller embeds costs its size, and whatever it would take from elsewhere. */
static void make_mutex(void) { weft_mutex_init((weft_mutex *)allocate(sizeof(weft_mutex))); }
static void make_cond(void) { weft_cond_init(allocate(sizeof(weft_cond))); }
static void make_notify(void) { weft_notify_init(allocate(sizeof(weft_notify))); }

/* One future has all timers armed. */
static weft_poll armer_poll(weft_future *self, weft_context *cx, void **result)
{
    (void)self, (void)result;
    weft_timer *timer = allocate(sizeof *timer);
    weft_timer_init(timer, weft_now() + 3600 * WEFT_SEC);
    BENCH_CHECK(weft_timer_poll(cx, timer) == WEFT_PENDING);
    return WEFT_READY;
}

static void make_timer(void)
{
    static const weft_future_ops ops = {.poll = armer_poll};
    weft_future armer = {.ops = &ops};
    BENCH_CHECK(weft_await(&armer, NULL) == 0);
}

/* ---- connections --------------------------------------------------------------------------------------------- */

struct handler {
    weft_future future;
    weft_stream *peer;
    bool greeted;
};

static bool echo_byte(weft_stream *peer, char byte) { return weft_write(peer, &byte, 1) == 1; }

static void *hold_connection(void *arg)
{
    char byte;
    while (weft_read(arg, &byte, 1) == 1 && echo_byte(arg, byte))
        atomic_fetch_add(&waiting, 1);
    weft_close(arg);
    return NULL;
}

static weft_poll handler_poll(weft_future *self, weft_context *cx, void **result)
{
    struct handler *h = WEFT_CONTAINER_OF(self, struct handler, future);
    char byte;
    ssize_t n;
    (void)result;
    while ((n = weft_poll_read(cx, h->peer, &byte, 1)) == 1 && weft_poll_write_some(cx, h->peer, &byte, 1) == 1)
        atomic_fetch_add(&waiting, 1);
    return n == WEFT_PENDING ? WEFT_PENDING : WEFT_READY;
}

static void handler_drop(weft_future *self)
{
    struct handler *h = WEFT_CONTAINER_OF(self, struct handler, future);
    weft_close(h->peer);
    free(h);
}

static const weft_future_ops handler_ops = {.poll = handler_poll, .drop = handler_drop};

static void spawn_handler(weft_stream *peer)
{
    struct handler *h = allocate(sizeof *h);
    *h = (struct handler){.future.ops = &handler_ops, .peer = peer};
    BENCH_CHECK(weft_spawn_future(NULL, &h->future) == 0);
}

static bool stackless;

static void *accept_all(void *listener)
{
    weft_stream *peer;
    while (weft_accept(&peer, listener) == 0) {
        if (stackless)
            spawn_handler(peer);
        else
            BENCH_CHECK(weft_spawn(NULL, hold_connection, peer) == 0);
    }
    return NULL;
}

struct order {
    weft_addr to;
    unsigned long n;
};

static int orders; /* to the client */

/* Echoed to once, and ended with a reset by the exit: no TIME_WAIT fills the port range. */
static void connect_one(const weft_addr *address)
{
    char byte = 'w';
    size_t length;
    struct linger reset = {.l_onoff = 1};
    const struct sockaddr *to = weft_addr_sockaddr(address, &length);
    int fd = socket(to->sa_family, SOCK_STREAM, 0);
    BENCH_CHECK(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) == 0);
    BENCH_CHECK(connect(fd, to, (socklen_t)length) == 0);
    BENCH_CHECK(write(fd, &byte, 1) == 1 && read(fd, &byte, 1) == 1);
}

/* The client is a process of its own: it connects as often as it is told, until the pipe ends. Before the runtime begins. */
static void start_client(void)
{
    struct order order;
    int ends[2];
    BENCH_CHECK(pipe(ends) == 0);
    orders = ends[1];
    pid_t pid = fork();
    BENCH_CHECK(pid >= 0);
    if (pid > 0) {
        close(ends[0]);
        return;
    }
    close(ends[1]);
    while (read(ends[0], &order, sizeof order) == sizeof order)
        for (unsigned long i = 0; i < order.n; i++)
            connect_one(&order.to);
    _exit(0);
}

static void fill_connections(unsigned long n)
{
    static struct order order;
    if (order.n == 0) {
        weft_listener *listener;
        BENCH_CHECK(weft_tcp_listen(&listener, "127.0.0.1:0", NULL) == 0);
        BENCH_CHECK(weft_listener_addr(listener, &order.to) == 0);
        BENCH_CHECK(weft_spawn(NULL, accept_all, listener) == 0);
    }
    order.n = n;
    BENCH_CHECK(write(orders, &order, sizeof order) == sizeof order);
}

/* ---- a burst ------------------------------------------------------------------------------------------------- */

static void print_mib(const char *name, double bytes)
{
    printf("%-28s %12.2f MiB\n", name, bytes / (1 << 20));
    fflush(stdout);
}

struct gate {
    weft_notify open;
    unsigned long inside;
};

static void *wait_at_gate(void *arg)
{
    struct gate *gate = arg;
    gate->inside++;
    BENCH_CHECK(weft_notify_wait(&gate->open) == 0);
    gate->inside--;
    return NULL;
}

static void burst(unsigned long n)
{
    static struct gate gate;
    weft_notify_init(&gate.open);
    for (unsigned long i = 0; i < n; i++)
        BENCH_CHECK(weft_spawn(NULL, wait_at_gate, &gate) == 0);
    while (gate.inside < n)
        weft_sleep(WEFT_MS);
    weft_sleep(20 * WEFT_MS); /* the last still has to fall asleep */
    if (n == count) {
        print_mib("memory_burst_peak", bench_memory("VmRSS"));
        print_mib("memory_burst_peak_tables", bench_memory("VmPTE"));
    }
    weft_notify_all(&gate.open);
    while (gate.inside > 0)
        weft_sleep(WEFT_MS);
}

static void *burst_and_rest(void *arg)
{
    burst(WARM_UP);
    weft_sleep(WEFT_SEC);
    print_mib("memory_burst_before", bench_memory("VmRSS"));
    print_mib("memory_burst_before_tables", bench_memory("VmPTE"));
    burst(count);
    print_mib("memory_burst_ended", bench_memory("VmRSS"));
    weft_sleep(WEFT_SEC);
    print_mib("memory_burst_after", bench_memory("VmRSS"));
    print_mib("memory_burst_after_tables", bench_memory("VmPTE"));
    return arg;
}

/* ---- measuring ----------------------------------------------------------------------------------------------- */

/* One worker, which is the calling thread: its heap is the one that mallinfo2() knows. */
static void *measure_scopes(void *arg)
{
    weft_scope scope[SCOPES];
    size_t before = mallinfo2().uordblks;
    for (int i = 0; i < SCOPES; i++)
        BENCH_CHECK(weft_scope_enter(&scope[i], WEFT_SEC) == 0);
    size_t after = mallinfo2().uordblks;
    for (int i = SCOPES; i-- > 0;)
        weft_scope_leave(&scope[i]);
    printf("%-28s %12zu bytes\n", "memory_scope", sizeof scope[0]);
    printf("%-28s %12.0f bytes\n", "memory_scope_heap", (double)(after - before) / SCOPES);
    return arg;
}

static void *measure_kind(void *arg);

static const struct kind {
    const char *name;
    weft_fn measure;
    void (*make)(void); /* one of them; NULL: a connection */
    bool waits;         /* it counts itself in once it waits */
} kinds[] = {
    {"task", measure_kind, make_task, true},
    {"strand", measure_kind, make_strand, true},
    {"small", measure_kind, make_small, true},
    {"timer", measure_kind, make_timer, false},
    {"conn_task", measure_kind, NULL, true},
    {"conn_strand", measure_kind, NULL, true},
    {"chan_unbounded", measure_kind, make_chan_unbounded, false},
    {"chan_1", measure_kind, make_chan_1, false},
    {"chan_16", measure_kind, make_chan_16, false},
    {"group", measure_kind, make_group, false},
    {"group_1", measure_kind, make_group_1, true},
    {"mutex", measure_kind, make_mutex, false},
    {"cond", measure_kind, make_cond, false},
    {"notify", measure_kind, make_notify, false},
    {"oneshot", measure_kind, make_oneshot, false},
    {"token", measure_kind, make_token, false},
    {"scope", measure_scopes, NULL, false},
    {"burst", burst_and_rest, NULL, false},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static const struct kind *kind;

/* Make @n more and wait until those that wait do. */
static void fill(unsigned long n)
{
    unsigned long all = atomic_load(&waiting) + n;
    if (!kind->make)
        fill_connections(n);
    for (unsigned long i = 0; kind->make && i < n; i++)
        kind->make();
    while (kind->waits && atomic_load(&waiting) < all)
        weft_sleep(WEFT_MS);
    weft_sleep(20 * WEFT_MS); /* the last to count itself still has to fall asleep */
}

static void *measure_kind(void *arg)
{
    char name[64];
    (void)arg;
    fill(WARM_UP);
    double before = bench_memory("VmRSS");
    fill(count);
    snprintf(name, sizeof name, "memory_%s", kind->name);
    printf("%-28s %12.0f bytes\n", name, (bench_memory("VmRSS") - before) / (double)count);
    fflush(stdout);
    _exit(0); /* nothing of this is worth tidying up */
}

static int measure(const struct kind *k, unsigned long n)
{
    bool connections = k->measure == measure_kind && !k->make;
    kind = k;
    count = n ? n : connections ? CONNECTIONS : COUNT;
    stackless = strcmp(k->name, "conn_task") == 0;
    bench_raise_nofile();
    if (connections)
        start_client();
    bench_run(1, k->measure);
    return 0;
}

int main(int argc, char **argv)
{
    int failed = 0;
    for (int i = 0; i < KINDS; i++) {
        if (argc < 2)
            failed |= bench_again(argv[0], kinds[i].name);
        else if (strcmp(argv[1], kinds[i].name) == 0)
            return measure(&kinds[i], argc > 2 ? strtoul(argv[2], NULL, 10) : 0);
    }
    return argc < 2 ? failed : 2;
}
