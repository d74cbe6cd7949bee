/* error.c - the names and sentences of every code a call can return, and the version.
 *
 * Everything returned is a string literal, so any thread may call at any time and keep what it gets; that is why
 * libuv's uv_strerror() is not called (it allocates for codes it does not know) and its table is expanded here instead.
 * What a failure knew beyond its code is weft_error_detail()'s business, not this file's. */
#include <base/common.h>
#include <string.h>
#include <uv.h>

/* clang-format off */
#define WEFT_ERRNO_MAP(XX)                                        \
    XX(WEFT_EABORTED, "the task was aborted")                     \
    XX(WEFT_EPANIC, "the task panicked")                          \
    XX(WEFT_EFAILED, "the task failed")                           \
    XX(WEFT_ECLOSED, "closed on this side")                       \
    XX(WEFT_EEXHAUSTED, "retries, permits or places are used up") \
    XX(WEFT_ENORUNTIME, "the calling thread has no runtime")      \
    XX(WEFT_ETLS, "TLS failed")                                   \
    XX(WEFT_ECERTIFICATE, "the certificate was not accepted")

/* Codes with libuv's values. WEFT_EDEADLK is the system's alone: libuv has no name for it. */
#define SHARED_WITH_UV(XX)                                                                                     \
    XX(EAGAIN) XX(ECANCELED) XX(ETIMEDOUT) XX(EBUSY) XX(EINVAL) XX(EMSGSIZE) XX(ENOMEM) XX(EMFILE) XX(ENFILE)  \
    XX(EADDRINUSE) XX(EADDRNOTAVAIL) XX(EACCES) XX(ECONNREFUSED) XX(ECONNRESET) XX(ECONNABORTED) XX(ENOTCONN)  \
    XX(EPIPE) XX(EBADF) XX(ENOTSUP) XX(ENOENT) XX(ENETUNREACH) XX(EHOSTUNREACH) XX(EPROTO) XX(ENOTSOCK)           \
    XX(EAI_AGAIN) XX(EAI_NONAME) XX(EOF)
/* clang-format on */

#define SAME(name) _Static_assert((int)WEFT_##name == (int)UV_##name, "WEFT_" #name " must be UV_" #name);
SHARED_WITH_UV(SAME)
#undef SAME

/* weft's own codes keep clear of libuv's, whose lowest is UV_EOF. */
#define APART(name, sentence) _Static_assert((int)name < (int)UV_EOF, #name " must not meet one of libuv's");
WEFT_ERRNO_MAP(APART)
#undef APART

/* What glibc knows and libuv does not (ETIME, EOWNERDEAD, ...). Static and untranslated strings, or NULL. */
static const char *system_sentence(int code)
{
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 32)
    return code > WEFT_EOF ? strerrordesc_np(-code) : NULL;
#else
    (void)code;
    return NULL;
#endif
}

static const char *system_name(int code)
{
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 32)
    return code > WEFT_EOF ? strerrorname_np(-code) : NULL;
#else
    (void)code;
    return NULL;
#endif
}

/* clang-format off */
#define RETURN_UV_SENTENCE(name, sentence) case UV_##name: return sentence;
#define RETURN_UV_NAME(name, sentence) case UV_##name: return #name;
#define RETURN_SENTENCE(name, sentence) case name: return sentence;
#define RETURN_NAME(name, sentence) case name: return #name;
/* clang-format on */

const char *weft_strerror(int code)
{
    if (code >= 0)
        return "success";
    switch (code) {
        UV_ERRNO_MAP(RETURN_UV_SENTENCE)
        WEFT_ERRNO_MAP(RETURN_SENTENCE)
    }
    if (code == WEFT_EDEADLK)
        return "waiting here could never end";
    const char *sentence = system_sentence(code);
    return sentence ? sentence : "unknown error";
}

const char *weft_err_name(int code)
{
    if (code >= 0)
        return "OK";
    switch (code) {
        UV_ERRNO_MAP(RETURN_UV_NAME)
        WEFT_ERRNO_MAP(RETURN_NAME)
    }
    if (code == WEFT_EDEADLK)
        return "EDEADLK";
    const char *name = system_name(code);
    return name ? name : "unknown";
}

int weft_version(void) { return WEFT_VERSION_NUMBER; }
