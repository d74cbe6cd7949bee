/* socket_call.h - recv(), send() and their likes with addresses, without the C library: a count or a negative code, no errno, no cancellation point, never SIGPIPE.
 *
 * After a system call every function that is open around it returns mispredicted (see source_op.h), the library's own and the one that keeps
 * errno away from functions that suspend included. And where a program has threads, the library makes its thread cancellable and
 * back around each call: four read-modify-writes a request. Sanitizers watch the library's functions, and tests put others in
 * their place, so only what is built for use goes without. */
#ifndef WF_SOCKET_CALL_H
#define WF_SOCKET_CALL_H

#include <base/common.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>

#if defined(__linux__) && defined(__LP64__) && (defined(__x86_64__) || defined(__aarch64__)) && !WF_ASAN && \
    !WF_TSAN && defined(NDEBUG)
#define WF_SOCKET_CALL_DIRECT 1
#else
#define WF_SOCKET_CALL_DIRECT 0
#endif

#if WF_SOCKET_CALL_DIRECT

/* recvfrom() or sendto(): they take the same. */
WF_INLINE ssize_t wf_socket_call(long number, int fd, const void *buf, size_t size, int flags, const void *address, long length)
{
#if defined(__x86_64__)
    long result = number;
    register long a4 __asm__("r10") = flags;
    register long a5 __asm__("r8") = (long)address;
    register long a6 __asm__("r9") = length;
    __asm__ volatile("syscall"
                     : "+a"(result)
                     : "D"((long)fd), "S"(buf), "d"(size), "r"(a4), "r"(a5), "r"(a6)
                     : "rcx", "r11", "memory");
    return result;
#else
    register long call __asm__("x8") = number;
    register long a1 __asm__("x0") = fd;
    register const void *a2 __asm__("x1") = buf;
    register size_t a3 __asm__("x2") = size;
    register long a4 __asm__("x3") = flags;
    register const void *a5 __asm__("x4") = address;
    register long a6 __asm__("x5") = length;
    __asm__ volatile("svc 0" : "+r"(a1) : "r"(call), "r"(a2), "r"(a3), "r"(a4), "r"(a5), "r"(a6) : "memory");
    return a1;
#endif
}

WF_INLINE ssize_t wf_recv(int fd, void *buf, size_t size)
{
    return wf_socket_call(SYS_recvfrom, fd, buf, size, 0, NULL, 0);
}

WF_INLINE ssize_t wf_send(int fd, const void *buf, size_t size)
{
    return wf_socket_call(SYS_sendto, fd, buf, size, MSG_NOSIGNAL, NULL, 0);
}

WF_INLINE ssize_t wf_recvfrom(int fd, void *buf, size_t size, int flags, struct sockaddr *from, socklen_t *length)
{
    return wf_socket_call(SYS_recvfrom, fd, buf, size, flags, from, (long)(intptr_t)length);
}

WF_INLINE ssize_t wf_sendto(int fd, const void *buf, size_t size, const struct sockaddr *to, size_t length)
{
    return wf_socket_call(SYS_sendto, fd, buf, size, MSG_NOSIGNAL, to, (long)length);
}

#else

/* socket_call.c */
ssize_t wf_recv(int fd, void *buf, size_t size);
ssize_t wf_send(int fd, const void *buf, size_t size);
ssize_t wf_recvfrom(int fd, void *buf, size_t size, int flags, struct sockaddr *from, socklen_t *length);
ssize_t wf_sendto(int fd, const void *buf, size_t size, const struct sockaddr *to, size_t length);

#endif

#endif
