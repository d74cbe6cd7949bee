/* answer.c - what is at which path, and how it goes to the client. */
#include <console/console.h>
#include <string.h>
#include <sys/uio.h>

typedef enum effort { FREE, WALK, DUMP } effort;

typedef struct route {
    const char *path, *type;
    effort effort;
    wf_console_make make; /* NULL: the page */
} route;

#define HTML "text/html; charset=utf-8"
#define JSON "application/json"
#define TEXT "text/plain; charset=utf-8"

static const route routes[] = {
    {"/", HTML, FREE, NULL},
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", FREE, wf_console_metrics},
    {"/workers.json", JSON, FREE, wf_console_workers},
    {"/tasks.json", JSON, WALK, wf_console_tasks},
    {"/groups.json", JSON, WALK, wf_console_groups},
    {"/dump", TEXT, DUMP, wf_console_dump},
    {"/task", TEXT, DUMP, wf_console_dump_task},
};

/* The page is all that there is: nothing from elsewhere, nothing to elsewhere, and no text that becomes code. */
static const char guards[] =
    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Cache-Control: no-store";

/* ---- writing ------------------------------------------------------------------------------------------------------- */

/* 0, or a negative code. */
static int respond(weft_stream *peer, const char *head, const char *type, const char *bytes, size_t size, bool body)
{
    char text[1024];
    int n = snprintf(text, sizeof text, "HTTP/1.1 %s%s\r\nContent-Length: %zu\r\nContent-Type: %s\r\n\r\n", head,
                     guards, size, type);
    if (n < 0 || (size_t)n >= sizeof text)
        return WEFT_EMSGSIZE;
    struct iovec parts[2] = {{text, (size_t)n}, {(void *)(uintptr_t)bytes, size}};
    ssize_t sent = weft_writev(peer, parts, body && size > 0 ? 2 : 1);
    return sent < 0 ? (int)sent : 0;
}

static void head_of(char out[128], int status, bool stays)
{
    snprintf(out, 128, "%d %s\r\n%s%s%s", status, http_status_str((enum http_status)status),
             stays ? "" : "Connection: close\r\n", status == 405 ? "Allow: GET, HEAD\r\n" : "",
             status == 429 ? "Retry-After: 1\r\n" : "");
}

static int say(weft_stream *peer, int status, bool stays, bool body)
{
    char head[128], text[64];
    int n = snprintf(text, sizeof text, "%d %s\n", status, http_status_str((enum http_status)status));
    head_of(head, status, stays);
    return respond(peer, head, TEXT, text, (size_t)n, body);
}

int wf_console_refuse(weft_stream *peer, int status) { return say(peer, status, false, true); }

/* ---- choosing ------------------------------------------------------------------------------------------------------ */

static const route *route_to(const char *path)
{
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++)
        if (strcmp(routes[i].path, path) == 0)
            return &routes[i];
    return NULL;
}

static int status_of(int err)
{
    return err == 0 ? 200 : err == WEFT_ENOENT ? 404 : err == WEFT_EINVAL ? 400 : err == WEFT_EAGAIN ? 429 : 503;
}

/* 0 with *@out a reference, or why not: WEFT_EAGAIN: there was too much of that lately. */
static int make(wf_console *c, const route *to, const wf_console_query *q, const char *target, wf_console_text **out)
{
    *out = to->effort == FREE ? NULL : wf_console_recall(c, target);
    if (*out)
        return 0;
    if ((to->effort == WALK && !wf_console_may_walk(c)) || (to->effort == DUMP && !wf_console_may_dump(c)))
        return WEFT_EAGAIN;
    wf_console_text *text = wf_console_text_create(c->stop);
    int err = text ? to->make(c, q, text) : WEFT_ENOMEM;
    if (err < 0) {
        wf_console_text_unref(text);
        return err;
    }
    if (to->effort != FREE)
        wf_console_remember(c, target, text);
    *out = text;
    return 0;
}

static int send_made(wf_console *c, weft_stream *peer, const route *to, const wf_console_query *q,
                     const wf_console_request *r)
{
    char head[128];
    wf_console_text *text;
    bool stays = http_should_keep_alive(&r->parser), body = r->parser.method != HTTP_HEAD;
    head_of(head, 200, stays);
    if (!to->make)
        return respond(peer, head, to->type, wf_console_page, wf_console_page_size, body);
    int err = make(c, to, q, r->target, &text);
    if (err == WEFT_ECANCELED)
        return err;
    if (err < 0)
        return say(peer, status_of(err), stays, body);
    err = respond(peer, head, to->type, text->bytes, text->size, body);
    wf_console_text_unref(text);
    return err;
}

int wf_console_answer(wf_console *c, weft_stream *peer, const wf_console_request *r)
{
    wf_console_query q;
    bool stays = http_should_keep_alive(&r->parser), body = r->parser.method != HTTP_HEAD;
    int err = wf_console_query_read(&q, r->target, c->most_tasks);
    const route *to = err < 0 ? NULL : route_to(q.path);
    err = to ? send_made(c, peer, to, &q, r) : say(peer, err < 0 ? 400 : 404, stays, body);
    return err < 0 ? err : stays ? 0 : WEFT_ECLOSED;
}
