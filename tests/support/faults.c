/* faults.c - see faults.h: the plan, and which calls it is for. Nothing here locks: a forked child comes by, too. It is left alone. */
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <string.h>
#include <support/faults_inside.h>
#include <support/test.h>

#define FAULTS_TEXT(id, name) #name,
const char *faults_name(faults_call call)
{
    static const char *const names[] = {FAULTS_EACH(FAULTS_TEXT) "epoll_ctl, MOD", "epoll_ctl, DEL"};
    return names[call];
}

bool faults_sees(faults_call call)
{
#if defined(NDEBUG)
    return call != FAULTS_RECV && call != FAULTS_SEND && call != FAULTS_RECVFROM && call != FAULTS_SENDTO;
#else
    return call < FAULTS_CALLS;
#endif
}

#if defined(FAULTS_TAKEN)
bool faults_available(void) { return false; }
void faults_begin(const faults_plan *p) { (void)p; }
unsigned faults_end(void) { return 0; }
#else
bool faults_available(void) { return true; }

/* ---- the system's --------------------------------------------------------------------------------------------- */

static faults_system real;

#define FIND(id, name)                                 \
    do {                                               \
        void *found_ = dlsym(RTLD_NEXT, #name);        \
        memcpy(&real.name, &found_, sizeof real.name); \
    } while (0);

__attribute__((constructor)) static void find_all(void) { FAULTS_EACH(FIND) }

const faults_system *faults_system_calls(void)
{
    if (!real.close)
        find_all();
    return &real;
}

/* ---- the plan -------------------------------------------------------------------------------------------------- */

enum { PLANS = 20000 };

/* Each place is used once: whoever still looks at one that has ended just then finds it as it was. */
static struct {
    faults_plan plan;
    pid_t whose;
} plans[PLANS];
static atomic_uint begun;
static atomic_int current;              /* + 1; 0: none */
static atomic_uint calls, others, hits; /* others: of the plan that is also there */

void faults_begin(const faults_plan *p)
{
    int place = (int)atomic_fetch_add(&begun, 1);
    cr_assert_lt(place, PLANS);
    plans[place].plan = *p;
    plans[place].whose = getpid();
    atomic_store(&calls, 0);
    atomic_store(&others, 0);
    atomic_store(&hits, 0);
    atomic_store(&current, place + 1);
}

unsigned faults_end(void)
{
    atomic_store(&current, 0);
    return atomic_load(&hits);
}

/* ---- whom it is for -------------------------------------------------------------------------------------------- */

static bool is_ours(const void *caller)
{
    extern const char __executable_start[], etext[];
    return (const char *)caller >= __executable_start && (const char *)caller < etext;
}

static unsigned port_of(const struct sockaddr *sa)
{
    return sa->sa_family == AF_INET ? ntohs(((const struct sockaddr_in *)(const void *)sa)->sin_port) : 0;
}

static bool has_port(int fd, unsigned port)
{
    struct sockaddr_storage sa;
    struct sockaddr *any = (struct sockaddr *)&sa;
    return (SYSTEM(getsockname)(fd, any, &(socklen_t){sizeof sa}) == 0 && port_of(any) == port) ||
           (SYSTEM(getpeername)(fd, any, &(socklen_t){sizeof sa}) == 0 && port_of(any) == port);
}

static faults_class class_of_socket(int fd)
{
    int family = 0, type = 0;
    SYSTEM(getsockopt)(fd, SOL_SOCKET, SO_DOMAIN, &family, &(socklen_t){sizeof family});
    SYSTEM(getsockopt)(fd, SOL_SOCKET, SO_TYPE, &type, &(socklen_t){sizeof type});
    if (family == AF_UNIX)
        return FAULTS_UNIX;
    return type == SOCK_STREAM ? FAULTS_TCP : FAULTS_UDP;
}

static faults_class class_of(int fd)
{
    struct stat st;
    if (SYSTEM(fstat)(fd, &st) < 0)
        return FAULTS_OTHER;
    if (S_ISSOCK(st.st_mode))
        return class_of_socket(fd);
    if (S_ISFIFO(st.st_mode))
        return FAULTS_PIPE;
    return S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) ? FAULTS_FILE : FAULTS_OTHER;
}

static bool is_about(const faults_plan *p, faults_subject s)
{
    if (p->class != FAULTS_ANY && p->class != (s.fd >= 0 ? class_of(s.fd) : s.class))
        return false;
    bool has_ports = p->class == FAULTS_ANY || p->class == FAULTS_TCP || p->class == FAULTS_UDP;
    if (p->port == 0 || !has_ports || (s.fd < 0 && s.class == FAULTS_TCP))
        return true;
    return s.to ? port_of(s.to) == p->port : s.fd >= 0 && has_port(s.fd, p->port);
}

static bool is_for(const faults_plan *p, faults_call call, faults_subject subject, const void *caller)
{
    return p->call == call && (p->anybodys || is_ours(caller)) && is_about(p, subject);
}

/* Is this call, which the plan is for, one of those that are hit? */
static bool counts(const faults_plan *p, atomic_uint *so_far)
{
    unsigned n = atomic_fetch_add(so_far, 1) + 1;
    return n >= p->nth && n - p->nth < p->times;
}

bool faults_hit(faults_call call, faults_subject subject, const void *caller, faults_plan *plan)
{
    int place = atomic_load(&current), before = errno;
    if (place == 0 || getpid() != plans[place - 1].whose)
        return false;
    const faults_plan *p = &plans[place - 1].plan, *also = p->also;
    bool hit = is_for(p, call, subject, caller) && counts(p, &calls);
    bool other = !hit && also && is_for(also, call, subject, caller) && counts(also, &others);
    if (hit)
        atomic_fetch_add(&hits, 1);
    *plan = other ? *also : *p;
    errno = before;
    return hit || other;
}

/* ---- the set that reports it once more --------------------------------------------------------------------------- */

enum { FDS = 4096 };

/* By descriptor: where it was added last, and for what. */
static struct {
    atomic_int set; /* + 1; 0: none */
    atomic_uint events;
    atomic_ullong data;
} added[FDS];

void faults_note_added(int set, int fd, const struct epoll_event *event)
{
    if (fd < 0 || fd >= FDS)
        return;
    atomic_store(&added[fd].events, event->events);
    atomic_store(&added[fd].data, event->data.u64);
    atomic_store(&added[fd].set, set + 1);
}

void faults_report_again(int fd)
{
    int set = fd >= 0 && fd < FDS ? atomic_load(&added[fd].set) - 1 : -1;
    if (set < 0)
        return;
    struct epoll_event event = {.events = atomic_load(&added[fd].events), .data.u64 = atomic_load(&added[fd].data)};
    SYSTEM(epoll_ctl)(set, EPOLL_CTL_MOD, fd, &event);
}

#endif
