/* addr.c - address texts, and socket addresses of any bytes, against a grammar written another way.
 *
 *   first byte even: the rest is a text    odd: a sockaddr of as many bytes */
#include "fuzz.h"
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <uv.h>
#include <weft/net.h>

enum { HOST_MOST = INET6_ADDRSTRLEN + IF_NAMESIZE - 1, PATH_MOST = sizeof((struct sockaddr_un *)0)->sun_path - 1 };

/* ---- the grammar, from the end of the text --------------------------------------------------------------------- */

/* Up to 65,535 and all digits; -1: no port. */
static long port_of(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    return digits > 0 && text[digits] == '\0' && strlen(text + strspn(text, "0")) <= 5 && atol(text) <= 65535 ? atol(text)
                                                                                                              : -1;
}

static bool scope_exists(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    if (digits > 0 && text[digits] == '\0')
        return strlen(text + strspn(text, "0")) <= 10 && strtoull(text, NULL, 10) <= UINT32_MAX;
    return strlen(text) < IF_NAMESIZE && if_nametoindex(text) > 0;
}

static bool is_v6_host(char *host)
{
    struct in6_addr ignored;
    char *percent = strchr(host, '%');
    if (strlen(host) > HOST_MOST)
        return false;
    if (percent)
        *percent = '\0';
    return uv_inet_pton(AF_INET6, host, &ignored) == 0 && (!percent || scope_exists(percent + 1));
}

static bool is_v4_host(const char *host)
{
    struct in_addr ignored;
    return host[0] == '\0' || uv_inet_pton(AF_INET, host, &ignored) == 0;
}

static bool is_path(const char *path) { return strlen(path) <= PATH_MOST && strlen(path) > (path[0] == '@' ? 1u : 0u); }

/* Takes @text apart. *@port: -1 if such a one has none. */
static bool should_parse(char *text, long *port)
{
    *port = -1;
    if (strncmp(text, "unix:", 5) == 0)
        return is_path(text + 5);
    char *colon = strrchr(text, ':');
    if (!colon || (*port = port_of(colon + 1)) < 0)
        return false;
    *colon = '\0';
    if (text[0] != '[')
        return is_v4_host(text);
    if (colon[-1] != ']')
        return false;
    colon[-1] = '\0';
    return is_v6_host(text + 1);
}

/* ---- addresses ------------------------------------------------------------------------------------------------- */

/* Into every space that is too small: cut, and terminated. */
static void check_cuts(const weft_addr *a, const char *text)
{
    for (size_t size = 1; size <= strlen(text) + 1; size++) {
        char *small = malloc(size);
        FUZZ_EXPECT(weft_addr_format(a, small, size) == small);
        FUZZ_EXPECT(strlen(small) == size - 1 && memcmp(small, text, size - 1) == 0, "%s cut at %zu: %s", text, size, small);
        free(small);
    }
}

static void check_sockaddr_round_trip(const weft_addr *a)
{
    size_t length;
    weft_addr again;
    const struct sockaddr *sa = weft_addr_sockaddr(a, &length);
    FUZZ_EXPECT(length <= sizeof(struct sockaddr_storage));
    FUZZ_EXPECT(weft_addr_from_sockaddr(&again, sa, length) == 0);
    FUZZ_EXPECT(weft_addr_equal(a, &again) && weft_addr_equal(&again, a));
}

/* What parses to @a, and nothing else does. */
static void check_text_round_trip(const weft_addr *a, const char *text)
{
    char buf[WEFT_ADDR_TEXT];
    weft_addr again;
    FUZZ_EXPECT(weft_addr_parse(&again, text) == 0, "%s", text);
    FUZZ_EXPECT(weft_addr_equal(a, &again), "%s", text);
    FUZZ_EXPECT(strcmp(weft_addr_format(&again, buf, sizeof buf), text) == 0, "%s became %s", text, buf);
    FUZZ_EXPECT(weft_addr_port(a) == weft_addr_port(&again));
}

static bool is_zero(const weft_addr *a)
{
    static const weft_addr zero;
    return memcmp(a, &zero, sizeof zero) == 0;
}

/* ---- the two kinds of input ------------------------------------------------------------------------------------ */

static void fuzz_text(fuzz_input *in)
{
    char formatted[WEFT_ADDR_TEXT], *text = fuzz_take_text(in);
    weft_addr a;
    long port;
    memset(&a, 0xff, sizeof a);
    int err = weft_addr_parse(&a, text);
    FUZZ_EXPECT(err == 0 || (err == WEFT_EINVAL && is_zero(&a)), "%s: %d", text, err);
    FUZZ_EXPECT(should_parse(text, &port) == (err == 0), "%s: %d", text, err);
    if (err == 0) {
        FUZZ_EXPECT(weft_addr_port(&a) == (unsigned)(port < 0 ? 0 : port));
        weft_addr_format(&a, formatted, sizeof formatted);
        check_cuts(&a, formatted);
        check_text_round_trip(&a, formatted);
        check_sockaddr_round_trip(&a);
    }
    free(text);
}

/* Names with zeros in them, paths without room for a terminator, and sockets without a name are shown and do not parse; a file whose name begins with @ becomes "./@…". */
static bool has_text(const weft_addr *a)
{
    struct sockaddr_un un;
    size_t length, path_at = offsetof(struct sockaddr_un, sun_path);
    const struct sockaddr *sa = weft_addr_sockaddr(a, &length);
    if (sa->sa_family != AF_UNIX)
        return true;
    memcpy(&un, sa, length);
    size_t size = length - path_at;
    bool abstract = size > 0 && un.sun_path[0] == '\0';
    if (size > 0 && un.sun_path[0] == '@')
        return false;
    return abstract ? size > 1 && size <= PATH_MOST && !memchr(un.sun_path + 1, '\0', size - 1)
                    : size > 0 && strnlen(un.sun_path, size) <= PATH_MOST;
}

static bool fits(const uint8_t *bytes, size_t size)
{
    sa_family_t family;
    if (size < sizeof family)
        return false;
    memcpy(&family, bytes, sizeof family);
    if (family == AF_INET || family == AF_INET6)
        return size >= (family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
    size_t path_at = offsetof(struct sockaddr_un, sun_path);
    return family == AF_UNIX && (size <= sizeof(struct sockaddr_un) || bytes[path_at] != '\0');
}

static void fuzz_sockaddr(fuzz_input *in)
{
    size_t size = fuzz_left(in);
    uint8_t *bytes = fuzz_take(in, &size);
    char text[WEFT_ADDR_TEXT];
    weft_addr a;
    memset(&a, 0xff, sizeof a);
    int err = weft_addr_from_sockaddr(&a, (const struct sockaddr *)(const void *)bytes, size);
    FUZZ_EXPECT(err == 0 || (err == WEFT_EINVAL && is_zero(&a)), "%d", err);
    FUZZ_EXPECT(fits(bytes, size) == (err == 0), "%d", err);
    if (err == 0) {
        weft_addr_format(&a, text, sizeof text);
        check_cuts(&a, text);
        check_sockaddr_round_trip(&a);
        FUZZ_EXPECT(strncmp(text, "unix:@", 6) != 0 || bytes[offsetof(struct sockaddr_un, sun_path)] == '\0',
                    "a file shows as %s", text);
        if (has_text(&a))
            check_text_round_trip(&a, text);
    }
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = fuzz_open(data, size);
    (fuzz_byte(&in) % 2 ? fuzz_sockaddr : fuzz_text)(&in);
    return 0;
}
