/* socket.h - sockets before they are streams: making them, their options, and system calls that must not raise SIGPIPE. */
#ifndef WF_SOCKET_H
#define WF_SOCKET_H

#include <base/common.h>
#include <signal.h>
#include <weft/net.h>

/* A non-blocking socket that no child inherits, or a negative code. */
int wf_socket(int family, int type);

/* setsockopt() with an int: 0 or a negative code. */
int wf_set_option(int fd, int level, int name, int value);

/* Made non-blocking if it is not: 0 or a negative code. */
int wf_set_nonblocking(int fd);

/* Small writes go out at once unless the user wants them joined. */
int wf_tcp_set_nagle(int fd, bool nagle);

/* @options as the caller's header knows them (@size), the rest zero; NULL: all zero. */
weft_tcp_options wf_tcp_options(const weft_tcp_options *options, size_t size);

/* What is for connections, on one that is connected, on one that will be, or on a listener, whose connections inherit it. 0 or a negative code:
 * what makes no sense is WEFT_EINVAL and changes nothing. */
int wf_tcp_apply(int fd, const weft_tcp_options *options);

/* 0: IPv4 or IPv6. WEFT_ENOTSUP: something else; or why it is not known. */
int wf_socket_must_be_internet(int fd);

/* The stream's socket is about to be closed: see to it that close() will not wait. */
void wf_socket_closing(int fd);

/* A listening socket on @address, its options applied, or a negative code with nothing left behind. */
int wf_listen(const weft_addr *address, const weft_tcp_options *options);

/* A connection that waits at @listener, non-blocking and inherited by no child: its descriptor, which is never 0, or a negative code. @peer: who it is,
 * zero if weft does not know its family; or NULL. */
int wf_accept(int listener, weft_addr *peer);

/* @fd's name by getsockname() or getpeername(): 0 or a negative code. */
typedef int (*wf_name_call)(int fd, struct sockaddr *sa, unsigned *length);
int wf_socket_name(int fd, wf_name_call call, weft_addr *out);

/* A write to a pipe, sendfile() and splice() raise SIGPIPE where send() has MSG_NOSIGNAL: between these two it is not delivered. No waiting in between. */
typedef struct wf_sigpipe {
    sigset_t before;
    bool pending; /* it was before us */
} wf_sigpipe;
void wf_sigpipe_hold(wf_sigpipe *hold);
void wf_sigpipe_release(const wf_sigpipe *hold);

#endif
