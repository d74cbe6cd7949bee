/* A key-value server that speaks Redis's protocol, RESP2.
 *   terminal 1:   ./12_redis 127.0.0.1:6379        and Ctrl-C in the end
 *   terminal 2:   redis-cli set greeting hello; redis-cli get greeting; redis-benchmark -t set,get -P 16
 * A strand per connection, on all CPUs. Commands are parsed where they came, in the reader's buffer: all that are there run, and one write sends their
 * answers. Keys are spread over shards with a lock each. The writer has room for any value, so under a lock nobody waits for a slow client. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <weft.h>

enum { SHARDS = 16384, MOST_ARGS = 64, LARGEST = 64 * 1024 /* command */, ROOM = 2 * LARGEST };

typedef struct slice {
    char *at;
    size_t size;
} slice;

typedef struct entry {
    struct entry *next;
    int64_t expires; /* on weft_now()'s clock; WEFT_FOREVER: never */
    slice key, value;
    char bytes[]; /* of both */
} entry;

static struct shard {
    weft_mutex lock;
    entry *first;
} shards[SHARDS];

typedef struct client {
    weft_writer *out; /* it keeps a failure until it is flushed */
    int leaving, argc;
    slice argv[MOST_ARGS]; /* in the reader's buffer; terminated besides */
    weft_mutex *lock;      /* of the key at hand */
} client;

static void drop(entry **link)
{
    entry *e = *link;
    *link = e->next;
    free(e);
}

/* Locks the key's shard, and returns where in it the key is or would be. What has expired is dropped on the way. */
static entry **lock_key(client *c, slice key)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < key.size; i++)
        hash = (hash ^ (unsigned char)key.at[i]) * UINT64_C(1099511628211);
    struct shard *s = &shards[(hash ^ hash >> 32) % SHARDS];
    weft_mutex_lock(c->lock = &s->lock);
    entry **link = &s->first, *e;
    while ((e = *link)) {
        if (e->expires <= weft_now())
            drop(link);
        else if (e->key.size == key.size && memcmp(e->key.at, key.at, key.size) == 0)
            break;
        else
            link = &e->next;
    }
    return link;
}

/* As all commands: it returns the answer, or the rest of it, without the end of its line. */
static const char *say(client *c, slice s)
{
    weft_writer_printf(c->out, "$%zu\r\n", s.size);
    weft_writer_write(c->out, s.at, s.size);
    return "";
}

static const char *echo(client *c) { return say(c, c->argv[1]); }

static int64_t number(const char *text)
{
    size_t digits = strspn(text, "0123456789"); /* none, or too many for what is here: -1 */
    return digits > 0 && digits <= 15 && strchr("\r\n", text[digits]) ? strtoll(text, NULL, 10) : -1;
}

static const char *set(client *c)
{
    slice key = c->argv[1], value = c->argv[2];
    const char *unit = c->argc > 3 ? c->argv[3].at : "";
    int64_t ns = strcasecmp(unit, "px") == 0 ? WEFT_MS : strcasecmp(unit, "ex") == 0 ? WEFT_SEC : 0;
    int64_t n = c->argc > 3 ? number(c->argv[4].at) : 0;
    if (c->argc > 3 && (ns == 0 || n <= 0 || n > INT64_MAX / 2 / ns))
        return "-ERR syntax error, or value is not an integer or out of range";
    entry *e = malloc(sizeof *e + key.size + value.size);
    if (!e)
        return "-OOM out of memory";
    *e = (entry){NULL, ns ? weft_now() + n * ns : WEFT_FOREVER, {e->bytes, key.size}, {e->bytes + key.size, value.size}};
    memcpy(e->key.at, key.at, key.size);
    memcpy(e->value.at, value.at, value.size);
    entry **link = lock_key(c, key);
    if (*link)
        drop(link);
    e->next = *link;
    *link = e;
    weft_mutex_unlock(c->lock);
    return "+OK";
}

static const char *get(client *c)
{
    const entry *e = *lock_key(c, c->argv[1]);
    const char *rest = e ? say(c, e->value) : "$-1";
    weft_mutex_unlock(c->lock);
    return rest;
}

static const char *count(client *c)
{
    int found = 0, del = strcasecmp(c->argv[0].at, "del") == 0; /* or EXISTS */
    for (int i = 1; i < c->argc; i++) {
        entry **link = lock_key(c, c->argv[i]);
        found += *link != NULL;
        if (*link && del)
            drop(link);
        weft_mutex_unlock(c->lock);
    }
    weft_writer_printf(c->out, ":%d", found);
    return "";
}

static const char *flushall(client *c)
{
    (void)c;
    for (struct shard *s = shards; s < shards + SHARDS; s++) {
        weft_mutex_lock(&s->lock);
        while (s->first)
            drop(&s->first);
        weft_mutex_unlock(&s->lock);
    }
    return "+OK";
}

/* clang-format off */
static const struct verb {
    const char *name, *answer; /* where nothing runs */
    int least, most;           /* arguments, the name included */
    const char *(*run)(client *c);
} verbs[] = {{"get", 0, 2, 2, get}, {"set", 0, 3, 3, set}, {"set", 0, 5, 5, set}, {"del", 0, 2, MOST_ARGS, count}, {"exists", 0, 2, MOST_ARGS, count},
             {"flushall", 0, 1, 2, flushall}, {"echo", 0, 2, 2, echo}, {"ping", 0, 2, 2, echo}, {"ping", "+PONG", 1, 1, 0}, {"quit", "+OK", 1, 1, 0},
             {"command", "*0", 1, MOST_ARGS, 0}, {"config", "*2\r\n$4\r\nsave\r\n$0\r\n", 3, 3, 0}, /* redis-benchmark is content with it */
             {0, "-ERR unknown command, or wrong number of arguments", 0, 0, 0}};
/* clang-format on */

static void run(client *c)
{
    const struct verb *v = verbs;
    while (v->name && (strcasecmp(c->argv[0].at, v->name) != 0 || c->argc < v->least || c->argc > v->most))
        v++;
    if (weft_writer_buffered(c->out) > LARGEST / 2)
        weft_writer_flush(c->out);
    weft_writer_printf(c->out, "%s\r\n", v->run ? v->run(c) : v->answer);
    c->leaving = v->name && strcmp(v->name, "quit") == 0;
}

/* As people type it: "get greeting\n". Returns its size, or what is wrong. */
static ssize_t parse_words(client *c, char *line, char *eol)
{
    *eol = '\0';
    char *rest, *word = strtok_r(line, " \t\r", &rest);
    for (; word && c->argc < MOST_ARGS; word = strtok_r(NULL, " \t\r", &rest))
        c->argv[c->argc++] = (slice){word, strlen(word)};
    return word ? WEFT_EMSGSIZE : eol + 1 - line;
}

/* Or as programs send it: "*2\r\n$3\r\nget\r\n$8\r\ngreeting\r\n". 0: it is not all there. */
static ssize_t parse(client *c, char *data, const char *end)
{
    char *at = data, *eol = memchr(at, '\n', (size_t)(end - at));
    c->argc = 0;
    if (eol && *at != '*')
        return parse_words(c, at, eol);
    int64_t n, args = eol ? number(at + 1) : 0;
    if (args < 0 || args > MOST_ARGS)
        return WEFT_EPROTO;
    while (eol && c->argc < args) {
        at = eol + 1;
        eol = memchr(at, '\n', (size_t)(end - at));
        n = eol && *at == '$' ? number(at + 1) : -1;
        if (n < 0 || n > LARGEST)
            return eol ? WEFT_EPROTO : 0;
        if (end - eol < n + 3)
            return 0;
        c->argv[c->argc++] = (slice){eol + 1, (size_t)n};
        eol += n + 2; /* over "\r\n" */
        eol[-1] = '\0';
    }
    return eol ? eol + 1 - data : 0;
}

static void *serve_client(weft_stream *peer, void *arg)
{
    client c = {.out = arg};
    weft_reader *in; /* goes with the stream */
    char *data, *end;
    size_t size;
    ssize_t n = 0;
    weft_stream_set_timeouts(peer, 0, 30 * WEFT_SEC); /* for who does not read the answers */
    if (weft_reader_create(&in, peer, LARGEST) < 0 || weft_writer_create(&c.out, peer, ROOM) < 0)
        return NULL;
    while (n >= 0 && !c.leaving && weft_writer_flush(c.out) == 0 &&
           (n = weft_reader_peek(in, weft_reader_buffered(in) + 1, &data, &size)) > 0) {
        for (end = data + size; !c.leaving && (n = parse(&c, data, end)) > 0; data += n)
            if (c.argc > 0)
                run(&c);
        weft_reader_consume(in, size - (size_t)(end - data));
    }
    if (n == WEFT_EPROTO || n == WEFT_EMSGSIZE)
        weft_writer_printf(c.out, "-ERR Protocol error: no command, or too large\r\n");
    weft_writer_flush(c.out);
    weft_writer_free(c.out);
    return NULL;
}

static void *stop(void *listener)
{
    weft_shutdown_signal();
    weft_listener_close(listener); /* weft_serve() takes no more, and drains */
    return NULL;
}

static void *app(void *address)
{
    weft_listener *listener;
    weft_addr addr;
    char text[WEFT_ADDR_TEXT];
    int err = weft_tcp_listen(&listener, address, NULL);
    if (err < 0)
        return fprintf(stderr, "%s\n", weft_error_detail()), weft_fail(err);
    for (struct shard *s = shards; s < shards + SHARDS; s++)
        weft_mutex_init(&s->lock);
    weft_listener_addr(listener, &addr);
    printf("listening on %s\n", weft_addr_format(&addr, text, sizeof text));
    fflush(stdout);
    if ((err = weft_spawn(NULL, stop, listener)) == 0)
        err = weft_serve(listener, serve_client, NULL,
                         &(weft_serve_options){.max_connections = 10000, .drain_timeout = WEFT_SEC});
    return err == WEFT_ECLOSED ? NULL : weft_fail(err);
}

int main(int argc, char **argv) { return weft_run(app, argc > 1 ? argv[1] : "127.0.0.1:6379", NULL) < 0; }
