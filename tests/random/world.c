/* world.c - the objects of a program: made before its first task, freed after its last one, when nobody can be waiting in them. */
#include "world.h"

#include <stdlib.h>
#include <sys/socket.h>

static void open_chans(world *w)
{
    const uint8_t *h = w->program->header;
    const size_t capacity[CHANS] = {h[0] % 4, 0, WEFT_UNBOUNDED, 1 + h[0] / 4 % 8};
    const weft_chan_options o = {.drop = random_item_dropped};
    for (unsigned i = 0; i < CHANS; i++)
        EXPECT(w, weft_chan_create_with(&w->chan[i], sizeof(item), capacity[i], &o) == 0);
    for (unsigned i = 0; i < ONESHOTS; i++)
        EXPECT(w, weft_oneshot_create(&w->oneshot[i], sizeof(item), random_item_dropped) == 0);
    EXPECT(w, weft_broadcast_create(&w->broadcast, sizeof(item), 1 + h[1] % 4) == 0);
    for (unsigned i = 0; i < SUBSCRIPTIONS; i++)
        EXPECT(w, weft_subscribe(&w->subscription[i], w->broadcast) == 0);
    EXPECT(w, weft_watch_create(&w->watch, sizeof(item), &(item){.world = w}) == 0);
}

static void open_locks(world *w)
{
    const uint8_t *h = w->program->header;
    weft_mutex_init(&w->mutex);
    weft_cond_init(&w->cond);
    w->rwlock = (weft_rwlock)WEFT_RWLOCK_INIT;
    w->once = (weft_once)WEFT_ONCE_INIT;
    EXPECT(w, weft_barrier_init(&w->barrier, 2 + h[2] % 3) == 0);
    for (unsigned i = 0; i < SEMAPHORES; i++) {
        w->permits[i] = 1 + (h[2] >> i * 3) % 4;
        weft_semaphore_init(&w->semaphore[i], w->permits[i]);
    }
    for (unsigned i = 0; i < NOTIFIES; i++)
        weft_notify_init(&w->notify[i]);
    for (unsigned i = 0; i < TOKENS; i++)
        EXPECT(w, weft_token_create(&w->token[i], i == 0 || i == 3 ? NULL : w->token[i - 1]) == 0);
}

static void open_sockets(world *w)
{
    int fds[2];
    weft_addr a;
    weft_tcp_options o = {.linger = WEFT_LINGER_RESET};
    EXPECT(w, weft_tcp_listen(&w->listener, "127.0.0.1:0", &o) == 0);
    EXPECT(w, weft_listener_addr(w->listener, &a) == 0);
    weft_addr_format(&a, w->address, sizeof w->address);
    EXPECT(w, weft_tcp_connect(&w->stream[4].stream, w->address, &o) == 0);
    EXPECT(w, weft_accept(&w->stream[5].stream, w->listener) == 0);
    EXPECT(w, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    EXPECT(w, weft_stream_from_fd(&w->stream[6].stream, fds[0]) == 0);
    EXPECT(w, weft_stream_from_fd(&w->stream[7].stream, fds[1]) == 0);
    for (unsigned i = 0; i < UDPS; i++) {
        EXPECT(w, weft_udp_bind(&w->udp[i], "127.0.0.1:0", NULL) == 0);
        EXPECT(w, weft_udp_local(w->udp[i], &w->udp_address[i]) == 0);
    }
}

void random_world_open(world *w)
{
    open_chans(w);
    open_locks(w);
    for (unsigned i = 0; i < 4 && !w->abrupt; i += 2)
        EXPECT(w, weft_stream_pair(&w->stream[i].stream, &w->stream[i + 1].stream) == 0);
    if (!w->options->pure)
        open_sockets(w);
}

/* Whoever is left in one of them would be "busy". */
void random_world_close(world *w)
{
    for (unsigned i = 0; i < CHANS; i++)
        EXPECT(w, weft_chan_free(w->chan[i]) == 0);
    for (unsigned i = 0; i < ONESHOTS; i++)
        EXPECT(w, weft_oneshot_free(w->oneshot[i]) == 0);
    for (unsigned i = 0; i < SUBSCRIPTIONS; i++)
        weft_unsubscribe(w->subscription[i]);
    EXPECT(w, weft_broadcast_free(w->broadcast) == 0);
    EXPECT(w, weft_watch_free(w->watch) == 0);
    for (unsigned i = 0; i < TOKENS; i++)
        EXPECT(w, weft_token_free(w->token[TOKENS - 1 - i]) == 0);
    for (unsigned i = 0; i < STREAMS; i++)
        weft_close(w->stream[i].stream);
    for (unsigned i = 0; i < UDPS; i++)
        weft_udp_close(w->udp[i]);
    weft_listener_close(w->listener);
}
