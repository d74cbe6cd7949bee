/* client.h - one actor of a client process: what it has, and the conversations that it may have. */
#ifndef CLIENT_H
#define CLIENT_H

#include "link.h"

typedef struct actor {
    soak_shared *shared;
    const endpoint *to; /* for this conversation */
    uint64_t luck;
    unsigned char out[sizeof(frame) + FRAME_MOST], in[sizeof(frame) + FRAME_MOST];
} actor;

/* A conversation that behaved came to nothing, as @what and errno say. */
void actor_broken(actor *a, const char *what);
/* What came back is not what it should be. */
void actor_wrong(actor *a, const char *what);
void actor_answered(actor *a);
/* 0 or -1: not connected, which is told if it should have been possible. */
int actor_open(actor *a, client_link *l);
/* Leave without saying goodbye, one way or another. */
void actor_die(actor *a, client_link *l);
/* Nonzero while the conversation may go on, which every loop asks. */
int actor_goes_on(const actor *a);
/* For at most @ms milliseconds. */
void actor_linger(actor *a, unsigned ms);

/* Many connections by one who mostly says nothing, except this now and then. */
void actor_bring_crowd(actor *a, size_t size);

/* One conversation of each kind of server. */
void converse_in_frames(actor *a);
void converse_in_http(actor *a);

#endif
