/* link.h - one connection of a client: a blocking socket with a limit to its patience, and TLS on it if asked for. Nothing of weft. */
#ifndef LINK_H
#define LINK_H

#include "soak.h"
#include <stddef.h>
#include <sys/types.h>

enum { PATIENCE_S = 40 };

struct ssl_st;

typedef struct client_link {
    int fd;
    struct ssl_st *tls; /* NULL: none */
} client_link;

/* A socket that is connected, without a handshake. -1: not, and errno says why. */
int link_dial(const endpoint *to, uint64_t *luck);
/* 0 or -1; then there is nothing to close. */
int link_open(client_link *l, const endpoint *to, uint64_t *luck);
/* All of it: 0 or -1. */
int link_send(client_link *l, const void *bytes, size_t size);
/* Some of it: how much, 0 at the end, -1. */
ssize_t link_take(client_link *l, void *bytes, size_t size);
/* All of it: 1; 0 at the end before the first byte; -1. */
int link_receive(client_link *l, void *bytes, size_t size);
/* Nothing more will be sent. */
int link_finish(client_link *l);
void link_close(client_link *l);
/* So that the server gets a reset, where the kind of socket has one. */
void link_reset(client_link *l);

/* tls_link.c: only if TLS is built. */
int tls_link_begin(client_link *l);
int tls_link_send(client_link *l, const void *bytes, size_t size);
ssize_t tls_link_take(client_link *l, void *bytes, size_t size);
int tls_link_finish(client_link *l);
void tls_link_free(client_link *l);
/* A certificate and its key for 127.0.0.1, in the file @path. 0 or -1. */
int tls_certificate(const char *path);

#endif
