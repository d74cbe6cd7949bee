/* socket.c - sockets before they are streams: see socket.h. */
#include <errno.h>
#include <net/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

WF_NOINLINE int wf_socket(int family, int type)
{
    int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd >= 0 ? fd : -errno;
}

WF_NOINLINE int wf_set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value) == 0 ? 0 : -errno;
}

int wf_tcp_set_nagle(int fd, bool nagle) { return wf_set_option(fd, IPPROTO_TCP, TCP_NODELAY, !nagle); }

weft_tcp_options wf_tcp_options(const weft_tcp_options *options, size_t size)
{
    weft_tcp_options own = WEFT_TCP_OPTIONS_INIT;
    if (options)
        memcpy(&own, options, WF_MIN(size, sizeof own));
    return own;
}

int wf_tcp_apply(int fd, const weft_tcp_options *o) { return wf_tcp_set_nagle(fd, o->nagle); }

/* ---- listening ------------------------------------------------------------------------------------------------- */

WF_NOINLINE static int bind_and_listen(int fd, const struct sockaddr *sa, size_t length, const weft_tcp_options *o)
{
    int err = wf_set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (err == 0 && o->reuse_port)
        err = wf_set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (err == 0 && sa->sa_family == AF_INET6)
        err = wf_set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, o->v6only != 0);
    if (err == 0)
        err = wf_tcp_apply(fd, o);
    if (err < 0)
        return err;
    if (bind(fd, sa, (socklen_t)length) < 0 || listen(fd, o->backlog > 0 ? o->backlog : SOMAXCONN) < 0)
        return -errno;
    return 0;
}

int wf_listen(const weft_addr *addr, const weft_tcp_options *o)
{
    size_t length;
    const struct sockaddr *sa = weft_addr_sockaddr(addr, &length);
    if (sa->sa_family != AF_INET && sa->sa_family != AF_INET6)
        return WEFT_EINVAL;
    int fd = wf_socket(sa->sa_family, SOCK_STREAM);
    if (fd < 0)
        return fd;
    int err = bind_and_listen(fd, sa, length, o);
    if (err == 0)
        return fd;
    close(fd); /* a failed bind leaks nothing (d15) */
    return err;
}

WF_NOINLINE int wf_socket_name(int fd, wf_name_call call, weft_addr *out)
{
    struct sockaddr_storage sa;
    unsigned length = sizeof sa;
    if (call(fd, (struct sockaddr *)&sa, &length) < 0)
        return -errno;
    return weft_addr_from_sockaddr(out, (struct sockaddr *)&sa, length);
}
