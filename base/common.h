/* common.h - the few words every file uses. */
#ifndef WF_COMMON_H
#define WF_COMMON_H

#include <assert.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weft/base.h>

#define wf_likely(x) __builtin_expect(!!(x), 1)
#define wf_unlikely(x) __builtin_expect(!!(x), 0)
#define wf_container(ptr, type, member) WEFT_CONTAINER_OF(ptr, type, member)
#define WF_NOINLINE __attribute__((noinline))
#define WF_INLINE static inline __attribute__((always_inline))
#define WF_CACHE_LINE 64

/* Thread-locals that outlive a switch: see exec.h. Initial-exec keeps the access at one instruction in a shared library too. */
#define WF_THREAD_LOCAL _Thread_local __attribute__((tls_model("initial-exec")))

#if defined(__SANITIZE_THREAD__)
#define WF_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WF_TSAN 1
#endif
#endif
#ifndef WF_TSAN
#define WF_TSAN 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define WF_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WF_ASAN 1
#endif
#endif
#ifndef WF_ASAN
#define WF_ASAN 0
#endif

/* 1: this is played by the explorer of interleavings (tests/model). */
#ifndef WF_MODEL
#define WF_MODEL 0
#endif

#define WF_MIN(a, b) ((a) < (b) ? (a) : (b))
#define WF_MAX(a, b) ((a) > (b) ? (a) : (b))

static inline int64_t wf_add_saturating(int64_t a, int64_t b)
{
    int64_t sum;
    if (!__builtin_add_overflow(a, b, &sum))
        return sum;
    return a < 0 ? INT64_MIN : INT64_MAX;
}

#endif
