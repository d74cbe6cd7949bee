/* link.c - see link.h. */
#include "link.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

typedef union any_address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_un un;
} any_address;

static socklen_t parse(any_address *a, const char *text)
{
    memset(a, 0, sizeof *a);
    if (strncmp(text, "unix:", 5) == 0) {
        a->un.sun_family = AF_UNIX;
        snprintf(a->un.sun_path, sizeof a->un.sun_path, "%s", text + 5);
        return sizeof a->un;
    }
    a->in.sin_family = AF_INET;
    a->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a->in.sin_port = htons((uint16_t)atoi(strrchr(text, ':') + 1));
    return sizeof a->in;
}

/* From one of many addresses of the loopback: ports that wait for their last minute to pass would soon be all there are. */
static int choose_source(int fd, uint64_t *luck)
{
    int on = 1;
    any_address from;
    memset(&from, 0, sizeof from);
    from.in.sin_family = AF_INET;
    from.in.sin_addr.s_addr = htonl(0x7F000001u + below(luck, 250) + (below(luck, 200) << 8));
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    return bind(fd, &from.any, sizeof from.in);
}

int link_dial(const endpoint *to, uint64_t *luck)
{
    any_address a;
    struct timeval patience = {.tv_sec = PATIENCE_S};
    socklen_t length = parse(&a, to->address);
    int fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if ((a.any.sa_family == AF_INET && choose_source(fd, luck) < 0) || connect(fd, &a.any, length) < 0) {
        int err = errno;
        close(fd);
        errno = err;
        return -1;
    }
    return fd;
}

int link_open(client_link *l, const endpoint *to, uint64_t *luck)
{
    *l = (client_link){.fd = link_dial(to, luck)};
    if (l->fd < 0)
        return -1;
#ifdef SOAK_TLS
    if (to->tls && tls_link_begin(l) < 0) {
        link_close(l);
        return -1;
    }
#endif
    return 0;
}

int link_send(client_link *l, const void *bytes, size_t size)
{
#ifdef SOAK_TLS
    if (l->tls)
        return tls_link_send(l, bytes, size);
#endif
    for (size_t done = 0; done < size;) {
        ssize_t n = send(l->fd, (const char *)bytes + done, size - done, MSG_NOSIGNAL);
        if (n <= 0)
            return -1;
        done += (size_t)n;
    }
    return 0;
}

ssize_t link_take(client_link *l, void *bytes, size_t size)
{
#ifdef SOAK_TLS
    if (l->tls)
        return tls_link_take(l, bytes, size);
#endif
    return recv(l->fd, bytes, size, 0);
}

int link_receive(client_link *l, void *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = link_take(l, (char *)bytes + done, size - done);
        if (n <= 0)
            return n == 0 && done == 0 ? 0 : -1;
        done += (size_t)n;
    }
    return 1;
}

int link_finish(client_link *l)
{
#ifdef SOAK_TLS
    if (l->tls)
        return tls_link_finish(l);
#endif
    return shutdown(l->fd, SHUT_WR);
}

void link_close(client_link *l)
{
#ifdef SOAK_TLS
    if (l->tls)
        tls_link_free(l);
#endif
    close(l->fd);
}

void link_reset(client_link *l)
{
    struct linger now = {.l_onoff = 1};
    setsockopt(l->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    link_close(l);
}
