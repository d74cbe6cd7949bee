/* A library that leaves the waiting to its user: libcurl's multi interface, on a worker's loop.
 *
 * libcurl says which sockets and which timeout it waits for: a uv_poll_t for each socket and one uv_timer_t do that. The loop belongs
 * to one worker, so everything of libcurl is done in one pinned task and in callbacks of that loop. A completion leads back from the
 * callback into the task. The pages come from a small server in the same program. */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft.h>
#include <weft/uv.h>

_Static_assert(UV_READABLE == CURL_POLL_IN && UV_READABLE == CURL_CSELECT_IN, "libuv and libcurl have the same bits");
_Static_assert(UV_WRITABLE == CURL_POLL_OUT && UV_WRITABLE == CURL_CSELECT_OUT, "libuv and libcurl have the same bits");

static const char *const pages[] = {"warp", "weft", "knot", "hole"};
enum { COUNT = sizeof pages / sizeof *pages };

typedef struct transfer {
    CURL *easy;
    char text[64];
    size_t length;
    weft_completion done; /* with a code of libcurl */
} transfer;

typedef struct client {
    CURLM *multi;
    transfer transfers[COUNT];
    uv_timer_t timer;
    int handles; /* of libuv, not closed yet */
    weft_completion closed;
} client;

static void end(CURL *easy, int code)
{
    transfer *t;
    if (curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&t) == CURLE_OK)
        weft_completion_set(&t->done, code);
}

/* libcurl tells of ends only when asked, and something may have ended whenever it was called. */
static void act(client *c, curl_socket_t fd, int events)
{
    int n;
    curl_multi_socket_action(c->multi, fd, events, &n);
    for (CURLMsg *m; (m = curl_multi_info_read(c->multi, &n));)
        end(m->easy_handle, (int)m->data.result);
}

static void on_timeout(uv_timer_t *timer) { act(timer->data, CURL_SOCKET_TIMEOUT, 0); }

static void on_event(uv_poll_t *poll, int status, int events)
{
    uv_os_fd_t fd;
    if (uv_fileno((uv_handle_t *)poll, &fd) == 0)
        act(poll->data, fd, status < 0 ? CURL_CSELECT_ERR : events);
}

static void on_close(uv_handle_t *handle)
{
    client *c = handle->data;
    if (handle != (uv_handle_t *)&c->timer)
        free(handle);
    if (--c->handles == 0)
        weft_completion_set(&c->closed, 0); /* the client may be gone now */
}

static uv_poll_t *watch(client *c, curl_socket_t fd)
{
    uv_poll_t *poll = malloc(sizeof *poll);
    if (!poll || uv_poll_init_socket(weft_uv_loop(), poll, fd) < 0) {
        free(poll);
        return NULL;
    }
    poll->data = c;
    c->handles++;
    curl_multi_assign(c->multi, fd, poll); /* libcurl brings it along the next time */
    return poll;
}

/* What fails here ends the transfer only: if it told libcurl, no other one would go on. */
static int set_socket(CURL *easy, curl_socket_t fd, int what, void *c, void *poll)
{
    if (what != CURL_POLL_REMOVE) {
        if (!poll)
            poll = watch(c, fd);
        if (!poll || uv_poll_start(poll, what & CURL_POLL_INOUT, on_event) < 0)
            end(easy, CURLE_OUT_OF_MEMORY);
    } else if (poll) {
        uv_close(poll, on_close);
    }
    return 0;
}

static int set_timer(CURLM *multi, long ms, void *arg)
{
    client *c = arg;
    (void)multi;
    return ms < 0 ? uv_timer_stop(&c->timer) : uv_timer_start(&c->timer, on_timeout, (uint64_t)ms, 0);
}

static size_t keep(char *data, size_t one, size_t n, void *arg)
{
    transfer *t = arg;
    if (n >= sizeof t->text - t->length) /* too much: libcurl lets the transfer fail */
        return 0;
    memcpy(t->text + t->length, data, n);
    t->length += n;
    return n * one; /* one is 1 */
}

static void open_client(client *c)
{
    *c = (client){.multi = curl_multi_init(), .handles = 1};
    uv_timer_init(weft_uv_loop(), &c->timer);
    c->timer.data = c;
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, set_socket);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
}

static void close_client(client *c)
{
    curl_multi_cleanup(c->multi);
    uv_close((uv_handle_t *)&c->timer, on_close);
    weft_shield_enter(); /* the callbacks come in any case, and write to the client */
    weft_completion_wait(&c->closed);
    weft_shield_leave();
}

static void start(client *c, int i, unsigned port)
{
    char url[64];
    transfer *t = &c->transfers[i];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/%s", port, pages[i]);
    t->easy = curl_easy_init(); /* a NULL is refused by the rest */
    curl_easy_setopt(t->easy, CURLOPT_URL, url);
    curl_easy_setopt(t->easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(t->easy, CURLOPT_NOSIGNAL, 1L); /* there are other threads */
    curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, keep);
    curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
    if (curl_multi_add_handle(c->multi, t->easy) != CURLM_OK)
        weft_completion_set(&t->done, CURLE_FAILED_INIT);
}

/* Needs no shield: a transfer that is taken out has ended, and no callback runs meanwhile, for their worker is here. */
static void finish(client *c, int i)
{
    transfer *t = &c->transfers[i];
    int err = weft_completion_wait(&t->done);
    if (err == 0)
        printf("%s: %s\n", pages[i], t->text);
    else
        printf("%s: failed with %d\n", pages[i], err); /* libcurl's words for it are not the same in all versions */
    curl_multi_remove_handle(c->multi, t->easy);
    curl_easy_cleanup(t->easy);
}

static void *fetch(void *listener)
{
    client c;
    weft_addr addr;
    weft_listener_addr(listener, &addr);
    open_client(&c);
    for (int i = 0; i < COUNT; i++)
        start(&c, i, i < COUNT - 1 ? weft_addr_port(&addr) : 1); /* nobody listens on port 1 */
    for (int i = 0; i < COUNT; i++)
        finish(&c, i);
    close_client(&c);
    return NULL;
}

static void *answer(weft_stream *peer, void *arg)
{
    char head[1024] = "", page[32], reply[128];
    size_t length = 0;
    (void)arg;
    for (ssize_t n; !strstr(head, "\r\n\r\n"); length += (size_t)n)
        if ((n = weft_read(peer, head + length, sizeof head - 1 - length)) <= 0) /* 0 also when there is no more room */
            return NULL;
    if (sscanf(head, "GET /%31s", page) == 1) {
        snprintf(reply, sizeof reply, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nthis is the page of the %s", page);
        weft_write(peer, reply, strlen(reply));
    }
    return NULL;
}

static void *serve(void *listener)
{
    weft_serve(listener, answer, NULL, NULL);
    return NULL;
}

static void *app(void *arg)
{
    weft_spawn_options pinned = {.pinned = 1};
    WEFT_SCOPED(weft_listener) listener = NULL;
    WEFT_SCOPED(weft_task) server = NULL;
    WEFT_SCOPED(weft_task) task = NULL;
    int err = weft_tcp_listen(&listener, "127.0.0.1:0", NULL);
    if (err == 0)
        err = weft_spawn(&server, serve, listener);
    if (err == 0)
        err = weft_spawn_with(&task, &pinned, fetch, listener);
    if (err == 0)
        err = weft_wait(task);
    return err < 0 ? weft_fail(err) : arg;
}

int main(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT); /* before there are threads */
    int err = weft_run(app, NULL, NULL);
    curl_global_cleanup();
    return err < 0;
}
