/* socket_call.c - recv() and send() by the C library, where they are not made directly. */
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

#endif
