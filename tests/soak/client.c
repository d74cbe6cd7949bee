/* client.c - a client process: threads that have one conversation after the other, each chosen by chance. */
#include "client.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ACTORS = 8, CROWD_MOST = 1024, CONVERSATIONS_MOST = 1000 * 1000 };

static void tell(actor *a, const char *what)
{
    int nobody = 0, err = errno;
    if (!atomic_compare_exchange_strong(&a->shared->told, &nobody, 1))
        return;
    snprintf(a->shared->problem, PROBLEM_TEXT, "%s: %s (errno: %s)", a->to->address, what, strerror(err));
    atomic_store(&a->shared->told, 2);
}

void actor_broken(actor *a, const char *what)
{
    if (atomic_load(&a->shared->ending))
        return;
    tell(a, what);
    atomic_fetch_add(&a->shared->broken, 1);
}

void actor_wrong(actor *a, const char *what)
{
    tell(a, what);
    atomic_fetch_add(&a->shared->wrong, 1);
}

void actor_answered(actor *a) { atomic_fetch_add(&a->shared->answers, 1); }

/* Running out of ports, or of descriptors, is this side's own doing. */
int actor_open(actor *a, client_link *l)
{
    if (link_open(l, a->to, &a->luck) == 0) {
        atomic_fetch_add(&a->shared->opened, 1);
        return 0;
    }
    if (errno != EADDRNOTAVAIL && errno != EMFILE && errno != EADDRINUSE)
        actor_broken(a, "no connection");
    return -1;
}

int actor_goes_on(const actor *a) { return !atomic_load(&a->shared->stop); }

void actor_die(actor *a, client_link *l)
{
    atomic_fetch_add(&a->shared->deaths, 1);
    if (below(&a->luck, 2))
        link_reset(l);
    else
        link_close(l);
}

void actor_linger(actor *a, unsigned ms)
{
    long ns = (long)below(&a->luck, ms * 1000 + 1) * 1000;
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    nanosleep(&t, NULL);
}

/* Those that are beyond the server's limit wait in the kernel. Some say the first part only of what is in a->out. */
void actor_bring_crowd(actor *a, size_t size)
{
    static _Thread_local int fds[CROWD_MOST];
    unsigned n = 0, most = 1 + below(&a->luck, a->to->crowd);
    while (n < most && actor_goes_on(a) && (fds[n] = link_dial(a->to, &a->luck)) >= 0)
        n++;
    atomic_fetch_add(&a->shared->opened, n);
    for (unsigned i = 0; i < n; i += 1 + below(&a->luck, 8))
        (void)send(fds[i], a->out, below(&a->luck, (unsigned)size + 1), MSG_NOSIGNAL);
    actor_linger(a, 800);
    for (unsigned i = 0; i < n; i++) {
        client_link l = {.fd = fds[i]};
        actor_die(a, &l);
    }
}

static void *act(void *arg)
{
    actor *a = arg;
    for (int i = 0; i < CONVERSATIONS_MOST && actor_goes_on(a); i++) {
        a->to = &a->shared->endpoints[below(&a->luck, a->shared->endpoint_count)];
        if (a->to->speech == SPEECH_HTTP)
            converse_in_http(a);
        else
            converse_in_frames(a);
        actor_linger(a, 4);
    }
    return NULL;
}

void client_run(soak_shared *shared, unsigned number)
{
    pthread_t threads[ACTORS];
    signal(SIGPIPE, SIG_IGN);
    actor *actors = calloc(ACTORS, sizeof *actors);
    unsigned n = 0;
    for (; actors && n < ACTORS; n++) {
        actors[n].shared = shared;
        actors[n].luck = chance_of(shared->seed, number * ACTORS + n);
        if (pthread_create(&threads[n], NULL, act, &actors[n]) != 0)
            break;
    }
    for (unsigned i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    free(actors);
}
