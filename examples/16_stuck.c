/* A server with two bugs, to practise finding them: docs/debugging.md shows how.
 *
 *   terminal 1:   ./16_stuck 127.0.0.1:7000 127.0.0.1:6690      and open http://127.0.0.1:6690/ in a browser
 *   terminal 2:   nc 127.0.0.1 7000    "reserve", and no answer to the question
 *   terminal 3:   nc 127.0.0.1 7000    "reserve" hangs
 *   terminal 4:   nc 127.0.0.1 7000    "report" hangs as well, and keeps a worker to itself
 *   terminal 5:   kill -QUIT its process; or gdb -p
 *
 * What makes it a server that can be looked into: the two options in main(), and the console. */
#include <stdio.h>
#include <string.h>
#include <weft.h>
#include <weft/console.h>

typedef struct customer {
    weft_stream *stream;
    weft_reader *in;
} customer;

typedef struct addresses {
    const char *shop, *console;
} addresses;

static weft_mutex shelf = WEFT_MUTEX_INIT;
static int apples = 100;

static int say(customer *c, const char *text) { return (int)weft_write(c->stream, text, strlen(text)); }

/* Bug 1: the shelf stays locked until the customer has made up his mind. */
static int reserve(customer *c)
{
    char *answer;
    size_t size;
    weft_mutex_lock(&shelf);
    int n = say(c, "sure? ");
    if (n > 0 && (n = weft_reader_line(c->in, &answer, &size)) > 0 && strcmp(answer, "yes") == 0)
        apples--;
    weft_mutex_unlock(&shelf);
    return n > 0 ? say(c, "done\n") : n;
}

/* Bug 2: by twos it never gets to an odd number. */
static __attribute__((noinline)) int count_by_twos(int wanted)
{
    volatile unsigned counted = 0;
    while (counted != (unsigned)wanted)
        counted += 2;
    return wanted;
}

static int report(customer *c)
{
    char line[64];
    snprintf(line, sizeof line, "%d apples and shelves\n", count_by_twos(apples | 1));
    return say(c, line);
}

static int answer(customer *c, const char *line)
{
    if (strcmp(line, "reserve") == 0)
        return reserve(c);
    if (strcmp(line, "report") == 0)
        return report(c);
    return say(c, "reserve or report?\n");
}

static void *serve_customer(weft_stream *stream, void *arg)
{
    customer c = {.stream = stream};
    char *line;
    size_t size;
    (void)arg;
    if (weft_reader_create(&c.in, stream, 0) < 0)
        return NULL;
    while (weft_reader_line(c.in, &line, &size) > 0 && answer(&c, line) > 0)
        ;
    return NULL;
}

static void *serve(void *listener)
{
    weft_serve_options options = {.spawn.name = "customer"};
    weft_serve(listener, serve_customer, NULL, &options);
    return NULL;
}

static void *app(void *arg)
{
    const addresses *at = arg;
    weft_listener *listener;
    weft_addr addr;
    char text[WEFT_ADDR_TEXT];
    int port;
    weft_console_options console = {.address = at->console, .port = &port};

    int err = weft_console_start_with(&console);
    if (err == 0)
        err = weft_tcp_listen(&listener, at->shop, NULL);
    if (err < 0) {
        fprintf(stderr, "%s: %s\n", weft_strerror(err), weft_error_detail());
        return weft_fail(err);
    }
    weft_listener_addr(listener, &addr);
    printf("listening on %s\nconsole on http://127.0.0.1:%d/\n", weft_addr_format(&addr, text, sizeof text), port);
    fflush(stdout);

    weft_set_name("main");
    weft_spawn_options named = {.name = "server"};
    if ((err = weft_spawn_with(NULL, &named, serve, listener)) < 0)
        return weft_fail(err);
    weft_shutdown_signal(); /* what is left is cancelled; and what does not stop within the grace is told of */
    return NULL;
}

/* Not weft_run(), whose caller is a worker too: a task that loops there keeps main() from ever getting on. */
int main(int argc, char **argv)
{
    addresses at = {argc > 1 ? argv[1] : "127.0.0.1:7000", argc > 2 ? argv[2] : "127.0.0.1:6690"};
    weft_options options = {
        .workers = 4, .flags = WEFT_DUMP_ON_SIGQUIT, .watchdog = 100 * WEFT_MS, .shutdown_grace = 2 * WEFT_SEC};
    weft_runtime *rt;
    int err = weft_runtime_create(&rt, &options);
    if (err < 0)
        return 1;
    err = weft_block_on(rt, app, &at, NULL);
    return weft_runtime_destroy(rt) < 0 || err < 0;
}
