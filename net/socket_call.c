/* socket_call.c - recv(), send() and their likes by the C library, where they are not made directly. */
#include <net/socket_call.h>

#if !WF_SOCKET_CALL_DIRECT

#include <errno.h>

WF_NOINLINE ssize_t wf_recv(int fd, void *buf, size_t size)
{
    ssize_t n = recv(fd, buf, size, 0);
    return n >= 0 ? n : -errno;
}

WF_NOINLINE ssize_t wf_send(int fd, const void *buf, size_t size)
{
    ssize_t n = send(fd, buf, size, MSG_NOSIGNAL);
    return n >= 0 ? n : -errno;
}

WF_NOINLINE ssize_t wf_recvfrom(int fd, void *buf, size_t size, int flags, struct sockaddr *from, socklen_t *length)
{
    ssize_t n = recvfrom(fd, buf, size, flags, from, length);
    return n >= 0 ? n : -errno;
}

WF_NOINLINE ssize_t wf_sendto(int fd, const void *buf, size_t size, const struct sockaddr *to, size_t length)
{
    ssize_t n = sendto(fd, buf, size, MSG_NOSIGNAL, to, (socklen_t)length);
    return n >= 0 ? n : -errno;
}

#endif
