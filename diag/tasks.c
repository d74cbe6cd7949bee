/* tasks.c - the list of live tasks, for programs. */
#include <arpa/inet.h>
#include <base/clock.h>
#include <base/exec.h>
#include <base/waits.h>
#include <runtime/registry.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <weft/diag.h>
#include <weft/net.h>

/* ---- visiting ------------------------------------------------------------------------------------------------ */

typedef struct visit {
    weft_runtime *rt;
    int (*fn)(void *arg, const weft_task_info *info);
    void *arg;
    int64_t now;
    int verdict;           /* nonzero: no more */
    weft_task_info *infos; /* copies, or NULL */
} visit;

static void visit_one(weft_task *task, void *arg)
{
    visit *v = arg;
    weft_task_info info;
    if (v->verdict == 0 && wf_registry_read(task, v->now, &info))
        v->verdict = v->fn(v->arg, &info);
}

/* Copies of what is on a shelf: the program must not be called under its lock. */
typedef struct copies {
    int64_t now;
    weft_task_info *infos;
    size_t count, room;
    bool out_of_memory;
} copies;

static void copy_one(weft_task *task, void *arg)
{
    copies *c = arg;
    if (c->count == c->room) {
        size_t room = c->room ? 2 * c->room : 64;
        weft_task_info *more = realloc(c->infos, room * sizeof *more);
        c->out_of_memory = c->out_of_memory || !more;
        if (!more)
            return;
        c->infos = more;
        c->room = room;
    }
    c->count += wf_registry_read(task, c->now, &c->infos[c->count]);
}

static void visit_shelf(visit *v, unsigned shelf)
{
    copies c = {.now = v->now};
    wf_registry_walk_shelf(v->rt, shelf, copy_one, &c);
    v->infos = c.infos;
    for (size_t i = 0; i < c.count && v->verdict == 0; i++)
        v->verdict = v->fn(v->arg, &c.infos[i]);
    if (c.out_of_memory && v->verdict == 0)
        v->verdict = WEFT_ENOMEM;
    v->infos = NULL;
    free(c.infos);
}

static void visit_all(visit *v)
{
    wf_registry_walk_headers(v->rt, visit_one, v);
    for (unsigned i = 0; i < WF_SHELVES && v->verdict == 0; i++)
        visit_shelf(v, i);
}

/* The program's function may panic: then this is called in place of coming back. */
static void end_visit(void *arg)
{
    visit *v = arg;
    free(v->infos);
    wf_runtime_look_end(v->rt);
}

int weft_tasks_visit(weft_runtime *rt, int (*fn)(void *arg, const weft_task_info *info), void *arg)
{
    rt = rt ? rt : weft_runtime_current();
    if (!fn)
        return WEFT_EINVAL;
    if (!rt)
        return WEFT_ENORUNTIME;
    if (!wf_runtime_look_begin(rt))
        return WEFT_ENOTSUP;
    visit v = {.rt = rt, .fn = fn, .arg = arg, .now = wf_now()};
    bool deferred = weft_defer(end_visit, &v) == 0;
    visit_all(&v);
    if (deferred)
        wf_defer_remove(end_visit, &v);
    end_visit(&v);
    return v.verdict;
}

/* ---- what they wait on --------------------------------------------------------------------------------------- */

typedef union address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
    struct sockaddr_storage room;
} address;

static int format_ip(const address *a, char *out, size_t size)
{
    char text[INET6_ADDRSTRLEN] = "?";
    bool six = a->any.sa_family == AF_INET6;
    inet_ntop(a->any.sa_family, six ? (const void *)&a->in6.sin6_addr : (const void *)&a->in.sin_addr, text, sizeof text);
    return snprintf(out, size, six ? "[%s]:%u" : "%s:%u", text, (unsigned)ntohs(six ? a->in6.sin6_port : a->in.sin_port));
}

/* The peer's address, or the own of what has no peer; else just which descriptor it is. By now it may be another's. */
static int format_descriptor(int fd, char *out, size_t size)
{
    address a = {.any.sa_family = AF_UNSPEC};
    if (fd < 0)
        return snprintf(out, size, "in memory");
    socklen_t length = sizeof a;
    if (getpeername(fd, &a.any, &length) != 0) {
        length = sizeof a;
        if (getsockname(fd, &a.any, &length) != 0)
            return snprintf(out, size, "fd %d", fd);
    }
    if (a.any.sa_family == AF_INET || a.any.sa_family == AF_INET6)
        return format_ip(&a, out, size);
    if (a.any.sa_family == AF_UNIX && length > offsetof(struct sockaddr_un, sun_path) && a.un.sun_path[0])
        return snprintf(out, size, "%.*s", (int)sizeof a.un.sun_path, a.un.sun_path);
    return snprintf(out, size, "fd %d", fd);
}

/* By the caller's clock: in a runtime whose clock is paused, the one by which its tasks sleep. */
static int format_time(int64_t when, char *out, size_t size)
{
    int64_t left = when - weft_now();
    if (when == (int64_t)WF_WAIT_OBJECT)
        return 0;
    return snprintf(out, size, left < 0 ? "%.3g s ago" : "in %.3g s", (double)(left < 0 ? -left : left) / (double)WEFT_SEC);
}

int weft_task_info_object(const weft_task_info *info, char *out, size_t size)
{
    if (size > 0)
        out[0] = 0;
    if (!info)
        return 0;
    unsigned long long object = info->object_;
    switch (wf_wait_object_of((wf_wait)info->wait_)) {
    case WF_OBJECT_ADDRESS:
        return snprintf(out, size, "0x%llx", object);
    case WF_OBJECT_DESCRIPTOR:
        return format_descriptor((int)object, out, size);
    case WF_OBJECT_TASK:
        return snprintf(out, size, "#%llu", object);
    case WF_OBJECT_TIME:
        return format_time((int64_t)object, out, size);
    case WF_OBJECT_NUMBER:
        return snprintf(out, size, "%llu", object);
    default:
        return 0;
    }
}
