/* A chat room.   terminal 1:        ./06_chat_server 127.0.0.1:7000        and Ctrl-C in the end
 *                terminals 2, 3 …:  nc 127.0.0.1 7000
 *                a browser:         what it does meanwhile, at a second address, if that is given: ./06_chat_server 127.0.0.1:7000 127.0.0.1:6690
 *
 * Each person has two strands. The reader puts lines into the outboxes of the others, and never waits for them. The writer
 * waits for its own outbox, and sends. Outboxes are bounded: lines for which there is no room are left out, and the person is
 * told how many as soon as they read again. So a slow reader holds up nobody. */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <weft.h>
#ifdef WITH_CONSOLE
#include <weft/console.h>
#else
#define weft_console_start(address) ((void)(address), weft_error_set(WEFT_ENOTSUP, "built without a console"))
#endif

enum { NAME_SIZE = 21, LINE_SIZE = 512, TEXT_SIZE = LINE_SIZE + 64, OUTBOX_SIZE = 16 * 1024 };

typedef struct person { /* lies on the stack of its reader */
    weft_stream *stream;
    weft_future mail;             /* ready when the writer has something to do */
    weft_atomic_waker mail_waker; /* the writer's */
    char *outbox;                 /* this and what follows: under the room's lock */
    size_t used;
    int missed, leaving;  /* lines left out since the outbox was emptied; the writer ends when it is empty */
    char name[NAME_SIZE]; /* "" until given */
    struct person *next;
} person;

/* The lock is held for a few copies and never across an await: a strand may come back from one on another thread. */
static pthread_mutex_t room = PTHREAD_MUTEX_INITIALIZER;
static person *people;

/* Under the lock. To @to; NULL: to everybody with a name but @from. */
static WEFT_PRINTF(3, 4) void say(const person *to, const person *from, const char *fmt, ...)
{
    char text[TEXT_SIZE];
    va_list args;
    va_start(args, fmt);
    size_t n = (size_t)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    for (person *p = people; p; p = p->next) {
        if (to ? p != to : p == from || !p->name[0])
            continue;
        p->missed += p->missed > 0 || p->used + n > OUTBOX_SIZE;
        if (p->missed == 0) {
            memcpy(p->outbox + p->used, text, n);
            p->used += n;
        }
        weft_atomic_waker_wake(&p->mail_waker); /* never suspends, so it may be called under the lock */
    }
}

static weft_poll mail_poll(weft_future *self, weft_context *cx, void **result)
{
    person *p = WEFT_CONTAINER_OF(self, person, mail);
    (void)result;
    int err = weft_atomic_waker_register(&p->mail_waker, weft_context_waker(cx)); /* first register, then look */
    pthread_mutex_lock(&room);
    int ready = p->used > 0 || p->missed > 0 || p->leaving;
    pthread_mutex_unlock(&room);
    return ready ? WEFT_READY : err < 0 ? err : WEFT_PENDING;
}

static void mail_drop(weft_future *self)
{
    weft_waker waker;
    weft_atomic_waker_take(&WEFT_CONTAINER_OF(self, person, mail)->mail_waker, &waker);
    weft_waker_drop(&waker);
}

static void *write_mail(void *arg)
{
    char text[OUTBOX_SIZE + TEXT_SIZE];
    person *p = arg;
    weft_set_name("writer");
    while (weft_await(&p->mail, NULL) == 0) {
        pthread_mutex_lock(&room);
        size_t n = p->used;
        memcpy(text, p->outbox, n);
        if (p->missed)
            n += (size_t)sprintf(text + n, "* You read too slowly: %d lines were left out.\n", p->missed);
        p->used = p->missed = 0;
        pthread_mutex_unlock(&room);
        if (n == 0 || weft_write(p->stream, text, n) < 0)
            break;
    }
    weft_stream_abort(p->stream); /* the reader's weft_read() returns WEFT_ECLOSED */
    return NULL;
}

static void take_name(person *p, const char *name)
{
    int bad = !name[0] || strlen(name) >= NAME_SIZE || strpbrk(name, " /*");
    for (person *q = people; q; q = q->next)
        bad |= strcmp(q->name, name) == 0;
    if (bad) {
        say(p, NULL, "* Taken, or not 1 to %d bytes without spaces. Your name?\n", NAME_SIZE - 1);
    } else {
        strcpy(p->name, name);
        say(p, NULL, "* Hello %s. /who lists who is here, /quit leaves.\n", name);
        say(NULL, p, "* %s has come.\n", name);
    }
}

static void take_line(person *p, const char *line)
{
    if (strlen(line) == LINE_SIZE - 1) {
        say(p, NULL, "* That line is too long, and was not sent.\n");
    } else if (strcmp(line, "/quit") == 0) {
        p->leaving = 1;
        say(p, NULL, "* Bye.\n");
    } else if (!p->name[0]) {
        take_name(p, line);
    } else if (strcmp(line, "/who") == 0) {
        for (person *q = people; q; q = q->next)
            say(p, NULL, "* %s is here.\n", q->name[0] ? q->name : "Somebody without a name");
    } else if (line[0]) {
        say(NULL, p, "%s: %s\n", p->name, line);
    }
}

static void read_lines(person *p)
{
    char buf[1024], line[LINE_SIZE];
    size_t length = 0;
    ssize_t n;
    for (int leaving = 0; !leaving && (n = weft_read(p->stream, buf, sizeof buf)) > 0;) {
        pthread_mutex_lock(&room);
        for (char *c = buf; c < buf + n && !p->leaving; c++)
            if (*c == '\n') {
                line[length] = '\0';
                take_line(p, line);
                length = 0;
            } else if ((unsigned char)*c >= ' ' && *c != 127 && length < LINE_SIZE - 1) {
                line[length++] = *c; /* no control characters: the others' terminals would obey them */
            }
        leaving = p->leaving;
        pthread_mutex_unlock(&room);
    }
}

static void *serve_person(weft_stream *stream, void *arg)
{
    static const weft_future_ops mail_ops = {.poll = mail_poll, .drop = mail_drop};
    char outbox[OUTBOX_SIZE];
    person p = {.stream = stream, .mail.ops = &mail_ops, .outbox = outbox}, **link = &people;
    weft_task *writer;
    (void)arg;
    if (weft_spawn(&writer, write_mail, &p) < 0)
        return NULL;
    pthread_mutex_lock(&room);
    p.next = people;
    people = &p;
    say(&p, NULL, "* What is your name?\n");
    pthread_mutex_unlock(&room);
    read_lines(&p);
    pthread_mutex_lock(&room);
    while (*link != &p)
        link = &(*link)->next;
    *link = p.next;
    if (p.name[0])
        say(NULL, &p, "* %s has left.\n", p.name);
    p.leaving = 1;
    weft_atomic_waker_wake(&p.mail_waker);
    pthread_mutex_unlock(&room);
    weft_wait(writer);       /* until it has sent what is left, or this strand is aborted */
    weft_task_close(writer); /* in any case it ends before p goes */
    return NULL;
}

static void *close_room(void *listener)
{
    if (weft_shutdown_signal() < 0)
        return NULL;
    weft_listener_close(listener); /* weft_serve() takes no more, and waits for those who are here */
    pthread_mutex_lock(&room);
    for (person *p = people; p; p = p->next) {
        p->leaving = 1;
        say(p, NULL, "* The room closes.\n");
    }
    pthread_mutex_unlock(&room);
    return NULL;
}

static void *app(void *words)
{
    const char *address = ((char **)words)[0], *console = ((char **)words)[1];
    weft_listener *listener;
    weft_addr addr;
    char text[WEFT_ADDR_TEXT];
    int err = weft_tcp_listen(&listener, address, NULL);
    if (err < 0)
        return fprintf(stderr, "%s\n", weft_error_detail()), weft_fail(err);
    weft_listener_addr(listener, &addr);
    printf("listening on %s\n", weft_addr_format(&addr, text, sizeof text));
    fflush(stdout);
    if (console && weft_console_start(console) < 0)
        fprintf(stderr, "%s\n", weft_error_detail()); /* one can do without */
    if (weft_spawn(NULL, close_room, listener) < 0)
        return NULL;
    weft_serve_options options = {.max_connections = 1000, .drain_timeout = WEFT_SEC, .spawn.name = "reader"};
    err = weft_serve(listener, serve_person, NULL, &options);
    puts("bye");
    return err == WEFT_ECLOSED ? NULL : weft_fail(err);
}

int main(int argc, char **argv)
{
    char *defaults[] = {"127.0.0.1:7000", NULL};
    return weft_run(app, argc > 1 ? argv + 1 : defaults, NULL) < 0;
}
