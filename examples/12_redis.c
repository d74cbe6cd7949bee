/* A key-value server that speaks Redis's protocol, RESP2.
 *
 *   terminal 1:   ./12_redis 127.0.0.1:6379        and Ctrl-C in the end
 *   terminal 2:   redis-cli set greeting hello; redis-cli get greeting; redis-benchmark -t set,get -P 16
 *
 * A strand per connection, on all CPUs. Who sends many commands at once gets one write for all the answers: they are flushed when nothing more is there.
 * Keys are spread over shards with a lock each, and a value counts its users, so it is sent after the unlock: a slow client holds up nobody. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <weft.h>

enum { SHARDS = 16384, MOST_ARGS = 64, LARGEST = 1 << 20, MOST_MEMORY = 1 << 29, NUMBER = 32 };

typedef struct slice {
    const char *at;
    size_t size;
} slice;

typedef struct client {
    weft_writer *out;
    int leaving, argc;
    slice argv[MOST_ARGS]; /* copies: the reader's pointers are good until it reads again */
    const char *text;      /* the answer: this; */
    struct entry *value;   /* or this, in use; */
    long long n;           /* or this */
} client;

/* ---- keys and values -------------------------------------------------------------------------------------------- */

typedef struct entry {
    struct entry *next;
    atomic_int users; /* its shard, and those who send it */
    int64_t expires;  /* on weft_now()'s clock, under the lock; WEFT_FOREVER: never */
    slice key, value;
    char bytes[]; /* of both */
} entry;

static struct shard {
    weft_mutex lock;
    entry *first;
} shards[SHARDS];
static atomic_size_t memory;

static void unref(entry *e)
{
    if (!e || atomic_fetch_sub(&e->users, 1) > 1)
        return;
    atomic_fetch_sub(&memory, e->key.size + e->value.size);
    free(e);
}

/* In the place of *@link, which may be NULL; nothing instead of it if @e is NULL. */
static void put(entry **link, entry *e)
{
    entry *old = *link, *rest = old ? old->next : NULL;
    if (e)
        e->next = rest;
    *link = e ? e : rest;
    unref(old);
}

/* Its shard, locked, and where in it the key is or would be. What has expired is taken away on the way. */
static entry **lock_key(slice key, struct shard **s)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < key.size; i++)
        hash = (hash ^ (unsigned char)key.at[i]) * UINT64_C(1099511628211);
    *s = &shards[(hash ^ hash >> 32) % SHARDS];
    weft_mutex_lock(&(*s)->lock);
    int64_t now = weft_now();
    entry **link = &(*s)->first;
    while (*link) {
        if ((*link)->expires <= now)
            put(link, NULL);
        else if ((*link)->key.size == key.size && memcmp((*link)->key.at, key.at, key.size) == 0)
            break;
        else
            link = &(*link)->next;
    }
    return link;
}

static int store(entry **link, slice key, slice value, int64_t expires)
{
    size_t size = key.size + value.size;
    entry *e = atomic_load(&memory) + size <= MOST_MEMORY ? malloc(sizeof *e + size) : NULL;
    if (!e)
        return 0;
    atomic_fetch_add(&memory, size);
    memcpy(e->bytes, key.at, key.size);
    memcpy(e->bytes + key.size, value.at, value.size);
    *e = (entry){NULL, 1, expires, {e->bytes, key.size}, {e->bytes + key.size, value.size}};
    put(link, e);
    return 1;
}

/* ---- commands: one key at a time, under its lock ------------------------------------------------------------------- */

static const char ok[] = "+OK\r\n", not_a_number[] = "-ERR value is not an integer or out of range\r\n";
static const char no_memory[] = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";

static int is(slice s, const char *word) { return strlen(word) == s.size && strncasecmp(s.at, word, s.size) == 0; }

static int number(slice s, long long *n)
{
    char text[NUMBER], *end;
    snprintf(text, sizeof text, "%.*s", s.size < NUMBER ? (int)s.size : 0, s.at);
    errno = 0; /* nothing here awaits */
    *n = strtoll(text, &end, 10);
    return s.size > 0 && end == text + s.size && errno == 0;
}

static void set(client *c, entry **link)
{
    int64_t unit = c->argc < 5 ? 0 : is(c->argv[3], "px") ? WEFT_MS : is(c->argv[3], "ex") ? WEFT_SEC : 0;
    long long n = 0;
    if (c->argc > 3 && unit == 0)
        c->text = "-ERR syntax error\r\n";
    else if (unit && (!number(c->argv[4], &n) || n <= 0 || n > INT64_MAX / 2 / unit))
        c->text = not_a_number;
    else
        c->text = store(link, c->argv[1], c->argv[2], unit ? weft_now() + n * unit : WEFT_FOREVER) ? ok : no_memory;
}

static void get(client *c, entry **link)
{
    c->text = "$-1\r\n";
    c->value = *link;
    if (c->value)
        atomic_fetch_add(&c->value->users, 1);
}

static void exists(client *c, entry **link) { c->n += *link != NULL; }

static void del(client *c, entry **link)
{
    exists(c, link);
    put(link, NULL);
}

static void incr(client *c, entry **link)
{
    char text[NUMBER];
    int64_t expires = *link ? (*link)->expires : WEFT_FOREVER;
    if (*link && (!number((*link)->value, &c->n) || c->n == INT64_MAX))
        c->text = not_a_number;
    else if (!store(link, c->argv[1], (slice){text, (size_t)sprintf(text, "%lld", ++c->n)}, expires))
        c->text = no_memory;
}

static void expire(client *c, entry **link)
{
    long long n;
    exists(c, link);
    if (!number(c->argv[2], &n) || n > INT64_MAX / 2 / WEFT_SEC)
        c->text = not_a_number;
    else if (*link && n > 0)
        (*link)->expires = weft_now() + n * WEFT_SEC;
    else
        put(link, NULL);
}

static void ttl(client *c, entry **link)
{
    int64_t expires = *link ? (*link)->expires : 0;
    c->n = !*link ? -2 : expires == WEFT_FOREVER ? -1 : (expires - weft_now() + WEFT_SEC / 2) / WEFT_SEC;
}

/* What the writer returns need not be looked at: it keeps a failure, and the flush tells it. */
static void say(client *c, slice s)
{
    weft_writer_printf(c->out, "$%zu\r\n", s.size);
    weft_writer_write(c->out, s.at, s.size);
    weft_writer_write(c->out, "\r\n", 2);
}

static void other(client *c)
{
    if (is(c->argv[0], "ping") || is(c->argv[0], "echo")) {
        c->text = c->argc > 1 ? "" : "+PONG\r\n";
        if (c->argc > 1)
            say(c, c->argv[1]);
    } else if (is(c->argv[0], "config") && c->argc == 3) { /* redis-benchmark asks, and is content with nothing */
        c->text = "$0\r\n\r\n";
        weft_writer_printf(c->out, "*2\r\n");
        say(c, c->argv[2]);
    } else if (is(c->argv[0], "flushall")) {
        c->text = ok;
        for (struct shard *s = shards; s < shards + SHARDS; s++) {
            weft_mutex_lock(&s->lock);
            while (s->first)
                put(&s->first, NULL);
            weft_mutex_unlock(&s->lock);
        }
    } else {
        c->leaving = is(c->argv[0], "quit");
        c->text = c->leaving ? ok : is(c->argv[0], "command") ? "*0\r\n" : "-ERR unknown command\r\n";
    }
}

/* clang-format off */
static const struct verb {
    const char *name;
    int least, most, keys; /* arguments, the name included; how many of them are keys */
    void (*run)(client *c, entry **link);
} verbs[] = {{"set", 3, 5, 1, set}, {"get", 2, 2, 1, get}, {"del", 2, MOST_ARGS, MOST_ARGS, del}, {"incr", 2, 2, 1, incr},
             {"exists", 2, MOST_ARGS, MOST_ARGS, exists}, {"expire", 3, 3, 1, expire}, {"ttl", 2, 2, 1, ttl}, {0}};
/* clang-format on */

static void run(client *c)
{
    const struct verb *v = verbs;
    struct shard *s;
    while (v->name && !is(c->argv[0], v->name))
        v++;
    c->text = NULL, c->value = NULL, c->n = 0;
    if (!v->name)
        other(c);
    else if (c->argc < v->least || c->argc > v->most)
        c->text = "-ERR wrong number of arguments\r\n";
    else
        for (int i = 1; i < c->argc && i <= v->keys; i++) {
            entry **link = lock_key(c->argv[i], &s);
            v->run(c, link);
            weft_mutex_unlock(&s->lock);
        }
    if (c->value)
        say(c, c->value->value);
    else if (c->text)
        weft_writer_write(c->out, c->text, strlen(c->text));
    else
        weft_writer_printf(c->out, ":%lld\r\n", c->n);
    unref(c->value);
}

/* ---- the protocol ------------------------------------------------------------------------------------------------ */

static int keep(client *c, const char *at, size_t size)
{
    char *copy = c->argc < MOST_ARGS ? malloc(size + 1) : NULL;
    if (!copy)
        return WEFT_ENOMEM;
    memcpy(copy, at, size);
    c->argv[c->argc++] = (slice){copy, size};
    return 1;
}

static int read_argument(client *c, weft_reader *in)
{
    long long n;
    char *at;
    size_t length;
    int err = weft_reader_line(in, &at, &length);
    if (err <= 0)
        return err;
    if (*at != '$' || !number((slice){at + 1, length - 1}, &n) || n < 0 || n > LARGEST)
        return WEFT_EPROTO;
    if (weft_reader_buffered(in) < (size_t)n && (err = weft_writer_flush(c->out)) < 0)
        return err;
    err = weft_reader_exact(in, (size_t)n + 2, &at); /* and "\r\n" */
    return err <= 0 ? err : keep(c, at, (size_t)n);
}

/* As people type them, "get greeting", or as programs send them, "*2\r\n$3\r\nget\r\n$8\r\ngreeting\r\n". 1, or why there is no more. */
static int read_command(client *c, weft_reader *in)
{
    long long args = 0;
    size_t length;
    char *line, *rest;
    int err = weft_reader_buffered(in) == 0 ? weft_writer_flush(c->out) : 0;
    if (err < 0 || (err = weft_reader_line(in, &line, &length)) <= 0)
        return err;
    if (*line == '*' && (!number((slice){line + 1, length - 1}, &args) || args > MOST_ARGS))
        return WEFT_EPROTO;
    for (char *word = *line == '*' ? NULL : strtok_r(line, " \t", &rest); word && err > 0;
         word = strtok_r(NULL, " \t", &rest))
        err = keep(c, word, strlen(word));
    while (c->argc < args && err > 0)
        err = read_argument(c, in);
    return err;
}

static void *serve_client(weft_stream *peer, void *arg)
{
    client c = {.out = arg};
    weft_reader *in; /* goes with the stream */
    int err = 1;
    weft_stream_set_timeouts(peer, 0, 30 * WEFT_SEC); /* for who does not read its answers */
    if (weft_reader_create(&in, peer, LARGEST + 2) < 0 || weft_writer_create(&c.out, peer, 0) < 0)
        return NULL;
    while (err > 0 && !c.leaving) {
        err = read_command(&c, in);
        if (err > 0 && c.argc > 0)
            run(&c);
        while (c.argc > 0)
            free((char *)(uintptr_t)c.argv[--c.argc].at);
    }
    if (err == WEFT_EPROTO || err == WEFT_EMSGSIZE || err == WEFT_ENOMEM)
        weft_writer_printf(c.out, "-ERR Protocol error: no command, or too large\r\n");
    weft_writer_flush(c.out);
    weft_writer_free(c.out);
    return NULL;
}

static void *serve(void *listener)
{
    weft_serve(listener, serve_client, NULL, &(weft_serve_options){.max_connections = 10000});
    return NULL;
}

static void *app(void *address)
{
    weft_listener *listener;
    weft_task *server;
    weft_addr addr;
    char text[WEFT_ADDR_TEXT];
    for (struct shard *s = shards; s < shards + SHARDS; s++)
        weft_mutex_init(&s->lock);
    int err = weft_tcp_listen(&listener, address, NULL);
    if (err < 0)
        return weft_fail(err);
    weft_listener_addr(listener, &addr);
    printf("listening on %s\n", weft_addr_format(&addr, text, sizeof text));
    fflush(stdout);
    if ((err = weft_spawn(&server, serve, listener)) == 0) {
        err = weft_shutdown_signal();
        weft_task_close(server);
    }
    weft_listener_close(listener);
    return err < 0 ? weft_fail(err) : NULL;
}

int main(int argc, char **argv) { return weft_run(app, argc > 1 ? argv[1] : "127.0.0.1:6379", NULL) < 0; }
