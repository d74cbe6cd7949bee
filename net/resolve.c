/* resolve.c - names to addresses: getaddrinfo() on the pool's threads for names.
 *
 *   what is numeric is answered here → a lookup goes to the pool → its thread asks → wakes the caller → the caller copies what it wants
 *
 * The lookup lies on the heap and has two holders, the caller and the job, because nobody can break off getaddrinfo(): a caller who is interrupted
 * takes it back if it has not begun, else leaves it behind, and returns at once. Whoever lets go last frees the answer. */
#include <base/alloc.h>
#include <base/waits.h>
#include <errno.h>
#include <net/resolve.h>
#include <netdb.h>
#include <netinet/in.h>
#include <runtime/runtime.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <uv.h>

/* ---- text ------------------------------------------------------------------------------------------------------ */

#define DIGITS "0123456789"
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

static bool is_number(const char *text) { return text[strspn(text, DIGITS)] == '\0'; }

/* -1: it is too large. */
static int port_number(const char *text)
{
    text += strspn(text, "0");
    int number = strlen(text) <= 5 ? atoi(text) : -1;
    return number <= 65535 ? number : -1;
}

/* As RFC 6335 has them. The rest never gets to getaddrinfo(), which takes " 80", "-1" and "65616" for numbers. */
static bool is_service(const char *text)
{
    return strspn(text, DIGITS LETTERS) > 0 && strpbrk(text, LETTERS) && text[strspn(text, DIGITS LETTERS "-_.+")] == '\0';
}

static bool fits(const char *text, size_t size) { return text[0] != '\0' && strlen(text) < size; }

/* Its last label is a number: an IPv4 address, or nothing. There is no such name, but getaddrinfo() reads "127.1" and "1" somehow. */
static bool ends_in_number(const char *host)
{
    size_t end = strlen(host);
    end -= end > 0 && host[end - 1] == '.';
    size_t begin = end;
    while (begin > 0 && strchr(DIGITS, host[begin - 1]))
        begin--;
    return begin < end && (begin == 0 || host[begin - 1] == '.');
}

int wf_resolve_numeric(weft_addr *out, const char *host, const char *port)
{
    char text[WF_HOST_SIZE + 16];
    bool number = is_number(port), v6 = strchr(host, ':') != NULL;
    int at = number ? port_number(port) : 0;
    if (!fits(host, WF_HOST_SIZE) || !fits(port, WF_SERVICE_SIZE) || at < 0 || (!number && !is_service(port)))
        return WEFT_EINVAL;
    snprintf(text, sizeof text, v6 ? "[%s]:%d" : "%s:%d", host, at);
    bool parsed = strcmp(host, "unix") != 0 && weft_addr_parse(out, text) == 0; /* that one is a name here, and no path follows */
    if (parsed && number)
        return 1;
    return parsed || (!v6 && !ends_in_number(host)) ? 0 : WEFT_EINVAL;
}

static bool copy(char *out, size_t size, const char *from, size_t length)
{
    if (length >= size)
        return false;
    memcpy(out, from, length);
    out[length] = '\0';
    return true;
}

/* The last bracket closes, because an interface's name may have one in it. */
bool wf_host_port_split(wf_host_port *out, const char *text)
{
    bool bracket = text[0] == '[';
    const char *host = text + bracket, *end = bracket ? strrchr(host, ']') : strchr(host, ':');
    const char *colon = end ? end + bracket : NULL;
    if (!colon || *colon != ':' || strchr(colon + 1, ':') || strncmp(text, "unix:", 5) == 0)
        return false;
    if (bracket && !memchr(host, ':', (size_t)(end - host)))
        return false;
    if (end == host)
        strcpy(out->host, "0.0.0.0");
    else if (!copy(out->host, sizeof out->host, host, (size_t)(end - host)))
        return false;
    return copy(out->port, sizeof out->port, colon + 1, strlen(colon + 1));
}

/* ---- a lookup -------------------------------------------------------------------------------------------------- */

typedef struct lookup {
    wf_job job;
    wf_a32 refs;             /* the caller's and the job's */
    wf_a8 ended;             /* the job's, once */
    weft_atomic_waker waker; /* the caller's */
    weft_runtime *rt;
    int family;
    int result;              /* the job's until it has ended, then the caller's */
    struct addrinfo *answer; /* … too; or NULL */
    wf_host_port what;
} lookup;

static void unref(lookup *l)
{
    if (wf_sub_acqrel(&l->refs, 1) != 1)
        return;
    if (l->answer)
        freeaddrinfo(l->answer);
    wf_free(&l->rt->options.allocator, l);
}

/* Codes that mean "would have to wait" elsewhere mean here that it did not work this time. */
static int code_of_errno(int error)
{
    return error == EAGAIN || error == EINTR ? WEFT_EAI_AGAIN : error > 0 ? -error : UV_EAI_FAIL;
}

static int code_of(int eai)
{
    switch (eai) {
    case 0:
        return 0;
    case EAI_AGAIN:
        return UV_EAI_AGAIN;
    case EAI_BADFLAGS:
        return UV_EAI_BADFLAGS;
    case EAI_FAMILY:
        return UV_EAI_FAMILY;
    case EAI_MEMORY:
        return WEFT_ENOMEM;
    case EAI_NONAME:
        return UV_EAI_NONAME;
    case EAI_OVERFLOW:
        return UV_EAI_OVERFLOW;
    case EAI_SERVICE:
        return UV_EAI_SERVICE;
    case EAI_SOCKTYPE:
        return UV_EAI_SOCKTYPE;
#ifdef EAI_ADDRFAMILY
    case EAI_ADDRFAMILY:
        return UV_EAI_ADDRFAMILY;
#endif
#ifdef EAI_NODATA
    case EAI_NODATA:
        return UV_EAI_NODATA;
#endif
    case EAI_SYSTEM:
        return code_of_errno(errno);
    default:
        return UV_EAI_FAIL;
    }
}

/* Called on a thread of the pool; the last thing is to let go. */
static void ask(wf_job *job)
{
    lookup *l = wf_container(job, lookup, job);
    const struct addrinfo hints = {.ai_family = l->family, .ai_socktype = SOCK_STREAM};
    l->result = code_of(getaddrinfo(l->what.host, l->what.port, &hints, &l->answer));
    if (l->result < 0)
        l->answer = NULL;
    wf_store_rel(&l->ended, 1); /* [LOOKUP] release: the answer */
    weft_atomic_waker_wake(&l->waker);
    unref(l);
}

static lookup *lookup_create(weft_runtime *rt, const char *host, const char *port, int family)
{
    lookup *l = wf_alloc(&rt->options.allocator, sizeof *l);
    if (!l)
        return NULL;
    wf_node_init(&l->job.node);
    weft_atomic_waker_init(&l->waker);
    l->job.run = ask;
    l->rt = rt;
    l->family = family;
    wf_store_rlx(&l->refs, 1);
    snprintf(l->what.host, sizeof l->what.host, "%s", host);
    snprintf(l->what.port, sizeof l->what.port, "%s", port);
    return l;
}

/* ---- waiting for it -------------------------------------------------------------------------------------------- */

typedef struct waiting {
    lookup *lookup;
    bool submitted;
} waiting;

static ssize_t submit(waiting *w)
{
    lookup *l = w->lookup;
    wf_store_rlx(&l->refs, 2);
    int err = wf_pool_submit(l->rt, WF_LANE_NAMES, &l->job);
    if (err < 0)
        wf_store_rlx(&l->refs, 1);
    w->submitted = err == 0;
    return err < 0 ? err : WEFT_PENDING;
}

static ssize_t submit_or_look(waiting *w, weft_context *cx)
{
    int err = weft_atomic_waker_register(&w->lookup->waker, weft_context_waker(cx));
    if (err < 0)
        return err;
    if (!w->submitted)
        return submit(w);
    return wf_load_acq(&w->lookup->ended) ? w->lookup->result : WEFT_PENDING; /* [LOOKUP] acquire */
}

static ssize_t poll(void *op, weft_context *cx)
{
    wf_exec_waits(cx->exec, WF_WAIT_RESOLVE, 0);
    return submit_or_look(op, cx);
}

static const wf_op_ops ops = {.poll = poll};

/* However the wait has ended. */
static void leave(waiting *w)
{
    lookup *l = w->lookup;
    weft_waker waker;
    if (w->submitted && !wf_load_acq(&l->ended) && wf_pool_retract(l->rt, WF_LANE_NAMES, &l->job))
        unref(l); /* the job's */
    if (weft_atomic_waker_take(&l->waker, &waker))
        weft_waker_drop(&waker);
    unref(l);
}

/* ---- the answers ----------------------------------------------------------------------------------------------- */

static bool is_known(const weft_addr *addrs, int count, const weft_addr *addr)
{
    for (int i = 0; i < count; i++)
        if (weft_addr_equal(&addrs[i], addr))
            return true;
    return false;
}

/* The first from @i on that is of @family (AF_UNSPEC: any internet one), and is not among those that there are; it becomes the next of them. */
static const struct addrinfo *take(const struct addrinfo *i, int family, weft_addr *addrs, int count)
{
    for (; i; i = i->ai_next) {
        bool wanted = family == AF_UNSPEC ? i->ai_family == AF_INET || i->ai_family == AF_INET6 : i->ai_family == family;
        if (wanted && i->ai_addr && weft_addr_from_sockaddr(&addrs[count], i->ai_addr, i->ai_addrlen) == 0 &&
            !is_known(addrs, count, &addrs[count]))
            return i;
    }
    return NULL;
}

static int take_in_order(const struct addrinfo *i, int family, weft_addr *addrs, int n)
{
    int count = 0;
    while (count < n && (i = take(i, family, addrs, count)))
        count++;
    return count;
}

/* One family after the other, as long as there is one left of both. */
static int take_in_turn(const struct addrinfo *answer, weft_addr *addrs, int n)
{
    const struct addrinfo *first = take(answer, AF_UNSPEC, addrs, 0), *of[2] = {first, answer};
    int count = 0;
    if (!first)
        return 0;
    const int families[2] = {first->ai_family, first->ai_family == AF_INET ? AF_INET6 : AF_INET};
    for (int turn = 0; count < n && (of[0] || of[1]); turn = !turn)
        if (of[turn] && (of[turn] = take(of[turn], families[turn], addrs, count)))
            count++;
    return count;
}

static int take_answers(const lookup *l, weft_addr *addrs, int n, const wf_resolve_wish *wish)
{
    int count = wish->in_turn ? take_in_turn(l->answer, addrs, n) : take_in_order(l->answer, wish->family, addrs, n);
    return count > 0 ? count : WEFT_EAI_NONAME;
}

int wf_resolve_name(weft_addr *addrs, int n, const char *host, const char *port, const wf_resolve_wish *wish)
{
    wf_exec *exec = wf_exec_current();
    if (!exec || !exec->rt)
        return exec ? WEFT_ENORUNTIME : WEFT_ENOMEM;
    waiting w = {.lookup = lookup_create(exec->rt, host, port, wish->family)};
    if (!w.lookup)
        return WEFT_ENOMEM;
    int err = (int)wf_await(&ops, &w, wish->deadline);
    int count = err < 0 ? err : take_answers(w.lookup, addrs, n, wish);
    leave(&w);
    return count;
}

int weft_resolve(weft_addr *addrs, int n, const char *host, const char *port)
{
    const wf_resolve_wish wish = {.family = AF_UNSPEC, .deadline = WEFT_FOREVER};
    weft_addr numeric;
    wf_exec *exec;
    if (!addrs || n <= 0 || !host || !port)
        return WEFT_EINVAL;
    int result = wf_await_entry(&exec);
    if (result < 0)
        return result;
    result = wf_resolve_numeric(&numeric, host, port);
    if (result > 0) {
        addrs[0] = numeric;
        wf_spend(exec);
    } else if (result == 0) {
        result = wf_resolve_name(addrs, n, host, port, &wish);
    }
    return result < 0 ? weft_error_set(result, "resolve %s: %s", host, weft_strerror(result)) : result;
}
