/* activation.c - listeners that a service manager has opened: the protocol of systemd's sd_listen_fds(3).
 *
 *   LISTEN_PID      for whom they are: a child has the same environment, and none of them
 *   LISTEN_FDS      how many there are, from descriptor 3 on
 *   LISTEN_FDNAMES  their names, with colons in between
 *
 * The environment is read each time and never changed, for other threads may be reading it. A number is remembered for ever: once its
 * listener is closed it is the number of something else. */
#include <base/lock.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/stream.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIRST = 3, MOST = 1024 };

static wf_mutex lock = WF_MUTEX_INIT;
static bool taken[MOST] WF_GUARDED_BY(lock);

/* All of @name's value as a number of at most @most, or -1. */
static long number_in(const char *name, long most)
{
    const char *text = getenv(name);
    char *end;
    if (!text || *text < '0' || *text > '9')
        return -1;
    long n = strtol(text, &end, 10);
    return *end == '\0' && n <= most ? n : -1;
}

static int how_many(void)
{
    long n = number_in("LISTEN_PID", INT_MAX) == (long)getpid() ? number_in("LISTEN_FDS", INT_MAX - FIRST) : 0;
    return (int)(n < 0 ? 0 : WF_MIN(n, MOST));
}

/* Among the first @n names, from the @from-th on: its place, or -1. */
static int find_name(const char *name, int from, int n)
{
    size_t length = strlen(name);
    const char *at = getenv("LISTEN_FDNAMES");
    for (int i = 0; at && i < n; i++) {
        const char *end = strchr(at, ':');
        size_t size = end ? (size_t)(end - at) : strlen(at);
        if (i >= from && size == length && memcmp(at, name, size) == 0)
            return i;
        at = end ? end + 1 : NULL;
    }
    return -1;
}

/* The place that is meant and not taken, or WEFT_ENOENT, WEFT_EBUSY. */
static int choose(const char *name, int index, int n) WF_REQUIRES(lock)
{
    int i = name ? find_name(name, 0, n) : index;
    if (i < 0 || i >= n)
        return WEFT_ENOENT;
    while (name && i >= 0 && taken[i])
        i = find_name(name, i + 1, n);
    return i < 0 || taken[i] ? WEFT_EBUSY : i;
}

/* Also those that nobody has asked for yet: processes that are started meanwhile do not get them. */
WF_NOINLINE static void close_on_exec(int n) WF_REQUIRES(lock)
{
    for (int i = 0; i < n; i++) {
        int flags = taken[i] ? -1 : fcntl(FIRST + i, F_GETFD);
        if (flags >= 0 && !(flags & FD_CLOEXEC))
            fcntl(FIRST + i, F_SETFD, flags | FD_CLOEXEC);
    }
}

static int take(weft_listener **out, const char *name, int index, int n) WF_REQUIRES(lock)
{
    close_on_exec(n);
    int i = choose(name, index, n);
    if (i < 0)
        return i;
    int err = weft_listener_from_fd(out, FIRST + i);
    if (err == 0)
        taken[i] = true;
    return err;
}

/* A forked child is turned away before the lock, which another thread may have had. */
int weft_listener_activated(weft_listener **out, const char *name, int index)
{
    if (!out)
        return WEFT_EINVAL;
    *out = NULL;
    if (!wf_sources_here())
        return WEFT_ENORUNTIME;
    int n = how_many();
    if (n == 0)
        return WEFT_ENOENT;
    wf_mutex_lock(&lock);
    int err = take(out, name, index, n);
    wf_mutex_unlock(&lock);
    return err;
}
