/* weft/console.h - a page in the browser that shows a runtime at work. Link with weft-console. */
#ifndef WEFT_CONSOLE_H
#define WEFT_CONSOLE_H

#include <weft/base.h>

WEFT_BEGIN_DECLS

/** Zero is the default of every field. */
typedef struct weft_console_options {
    const char *address;   /* "127.0.0.1:6690", "[::1]:6690", "127.0.0.1:0" */
    weft_runtime *runtime; /* the one that is shown; NULL: the current one */
    unsigned any_address; /* nonzero: @address need not be of the loopback. There is no password: whoever reaches it sees all names and addresses */
    unsigned most_clients; /* connections at once; 0: 16; at most 10,000 */
    unsigned most_tasks;   /* rows in one answer of /tasks.json; 0: 1,000; at most 10,000 */
    int *port;             /* gets the port that it listens on; may be NULL */
} weft_console_options;

#define WEFT_CONSOLE_OPTIONS_INIT \
    {                             \
        0                         \
    }

WEFT_API int weft_console_start_sized(const weft_console_options *options, size_t size);

/**
 * Serve, until the runtime shuts down:
 *
 *   /               one page that needs nothing else
 *   /metrics        the counters, for Prometheus
 *   /workers.json   the counters, of all and of each worker
 *   /groups.json    tasks of one kind, by what their names have in common and what they wait for: how many, for how long; what is suspicious first
 *   /tasks.json     ?limit= offset= sort=(suspicion|age|since|id|name|state|wait) name=(contains) state= wait= kind= pattern=(the name of a group)
 *   /dump           weft_dump()
 *   /task?id=       weft_dump_task()
 *
 * It only shows: there is nothing to change. It has a thread and a runtime of its own, so it answers also when all workers of the one that it shows are stuck, and
 * the shutdown does not wait for clients. The same list of tasks is made at most once a second, whoever asks, of all lists four, and of dumps one (429 to who asks for more);
 * answers and connections are limited. Who asks must do so by an address or as "localhost", so that no page of somebody else's gets anything.
 * The detached strand "weft console" of that runtime ends it. Without memory for that strand's stack it ends at once.
 * Returns: 0; WEFT_EINVAL (an address that is none, or not of the loopback without any_address); WEFT_EADDRINUSE, WEFT_EACCES …; WEFT_ENORUNTIME; WEFT_ECANCELED (it is shutting
 *          down); WEFT_EDEADLK (nothing can wait here); WEFT_ENOTSUP (a forked child's copy); WEFT_ENOMEM. **awaits** until it listens.
 */
static inline int weft_console_start_with(const weft_console_options *options)
{
    return weft_console_start_sized(options, sizeof *options);
}

/** weft_console_start_with() and the defaults: of the current runtime, at @address. */
WEFT_API int weft_console_start(const char *address);

WEFT_END_DECLS

#endif
