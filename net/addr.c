/* addr.c - internet and Unix socket addresses as values: text to address and back.
 *
 * The grammar is strict, and nothing here asks a name server:
 *     a.b.c.d:port    :port    [v6]:port    [v6%scope]:port    unix:path    unix:@name
 * What it makes has every byte it does not mean set to zero, and the length that the system calls want. The storage is
 * only ever copied in and out, never pointed into with another type. */
#include <arpa/inet.h>
#include <base/common.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <weft/net.h>

_Static_assert(sizeof(struct sockaddr_storage) <= sizeof(((weft_addr *)0)->storage_), "every address must fit");

enum { UNIX_PATH_AT = offsetof(struct sockaddr_un, sun_path) };

static void store(weft_addr *a, const void *sa, size_t length)
{
    memset(a, 0, sizeof *a);
    memcpy(a->storage_, sa, length);
    a->length_ = (uint32_t)length;
}

static sa_family_t family_of(const weft_addr *a)
{
    struct sockaddr sa;
    memcpy(&sa, a->storage_, sizeof sa);
    return sa.sa_family;
}

static struct sockaddr_in v4_of(const weft_addr *a)
{
    struct sockaddr_in v4;
    memcpy(&v4, a->storage_, sizeof v4);
    return v4;
}

static struct sockaddr_in6 v6_of(const weft_addr *a)
{
    struct sockaddr_in6 v6;
    memcpy(&v6, a->storage_, sizeof v6);
    return v6;
}

/* ---- parsing ------------------------------------------------------------------------------------------------ */

/* All of @text as a decimal number of at most @max. */
static bool parse_number(const char *text, uint32_t max, uint32_t *out)
{
    uint64_t n = 0;
    if (*text == '\0')
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        n = n * 10 + (uint64_t)(*text - '0');
        if (n > max)
            return false;
    }
    *out = (uint32_t)n;
    return true;
}

/* ":port" and nothing else, in network order. */
static bool parse_port(const char *text, in_port_t *out)
{
    uint32_t port;
    if (*text != ':' || !parse_number(text + 1, 65535, &port))
        return false;
    *out = htons((uint16_t)port);
    return true;
}

/* The bytes from @from up to @to as a C string. */
static bool cut(const char *from, const char *to, char *buf, size_t size)
{
    size_t length = (size_t)(to - from);
    if (length >= size)
        return false;
    memcpy(buf, from, length);
    buf[length] = '\0';
    return true;
}

/* A number, or the name of an interface that exists. */
static bool parse_scope(const char *text, uint32_t *out)
{
    if (parse_number(text, UINT32_MAX, out))
        return true;
    *out = strlen(text) < IF_NAMESIZE ? if_nametoindex(text) : 0;
    return *out != 0;
}

static bool parse_v4(weft_addr *a, const char *text)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    char host[INET_ADDRSTRLEN];
    const char *colon = strchr(text, ':');
    if (!colon || !cut(text, colon, host, sizeof host) || !parse_port(colon, &v4.sin_port))
        return false;
    if (host[0] != '\0' && inet_pton(AF_INET, host, &v4.sin_addr) != 1)
        return false;
    store(a, &v4, sizeof v4);
    return true;
}

/* @text begins after the bracket. The last bracket closes, because an interface's name may have one in it. */
static bool parse_v6(weft_addr *a, const char *text)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    char host[INET6_ADDRSTRLEN + IF_NAMESIZE];
    const char *close = strrchr(text, ']');
    if (!close || !cut(text, close, host, sizeof host) || !parse_port(close + 1, &v6.sin6_port))
        return false;
    char *percent = strchr(host, '%');
    if (percent) {
        *percent = '\0';
        if (!parse_scope(percent + 1, &v6.sin6_scope_id))
            return false;
    }
    if (inet_pton(AF_INET6, host, &v6.sin6_addr) != 1)
        return false;
    store(a, &v6, sizeof v6);
    return true;
}

/* A path has a terminator in its length; an abstract name has none, and a zero byte in place of the @. */
static bool parse_unix(weft_addr *a, const char *path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    bool abstract = path[0] == '@';
    if (length < (abstract ? 2u : 1u) || length >= sizeof un.sun_path)
        return false;
    memcpy(un.sun_path, path, length);
    if (abstract)
        un.sun_path[0] = '\0';
    store(a, &un, UNIX_PATH_AT + length + !abstract);
    return true;
}

int weft_addr_parse(weft_addr *a, const char *text)
{
    bool parsed;
    memset(a, 0, sizeof *a);
    if (!text)
        return WEFT_EINVAL;
    if (strncmp(text, "unix:", 5) == 0)
        parsed = parse_unix(a, text + 5);
    else if (text[0] == '[')
        parsed = parse_v6(a, text + 1);
    else
        parsed = parse_v4(a, text);
    return parsed ? 0 : WEFT_EINVAL;
}

/* ---- formatting --------------------------------------------------------------------------------------------- */

static void format_v4(const weft_addr *a, char *buf, size_t size)
{
    struct sockaddr_in v4 = v4_of(a);
    char host[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &v4.sin_addr, host, sizeof host);
    snprintf(buf, size, "%s:%u", host, (unsigned)ntohs(v4.sin_port));
}

/* "%eth0", or "%2" when the interface is gone or its name reads like a number; "" without a scope. */
static void format_scope(uint32_t scope, char *buf, size_t size)
{
    char name[IF_NAMESIZE];
    uint32_t ignored;
    buf[0] = '\0';
    if (scope == 0)
        return;
    if (if_indextoname(scope, name) && !parse_number(name, UINT32_MAX, &ignored))
        snprintf(buf, size, "%%%s", name);
    else
        snprintf(buf, size, "%%%u", (unsigned)scope);
}

static void format_v6(const weft_addr *a, char *buf, size_t size)
{
    struct sockaddr_in6 v6 = v6_of(a);
    char host[INET6_ADDRSTRLEN], scope[IF_NAMESIZE + 1];
    inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof host);
    format_scope(v6.sin6_scope_id, scope, sizeof scope);
    snprintf(buf, size, "[%s%s]:%u", host, scope, (unsigned)ntohs(v6.sin6_port));
}

/* Zero bytes inside an abstract name show as @, as in /proc/net/unix: such a name has no text of its own. A socket
 * without a name is "unix:". A file whose name begins with @ shows as "./@…", which is the same file, and not as the
 * abstract name that it would parse to. */
static void format_unix(const weft_addr *a, char *buf, size_t size)
{
    struct sockaddr_un un;
    memcpy(&un, a->storage_, sizeof un);
    size_t length = a->length_ - UNIX_PATH_AT;
    const char *here = length > 0 && un.sun_path[0] == '@' ? "./" : "";
    if (length > 0 && un.sun_path[0] != '\0')
        length = strnlen(un.sun_path, length);
    for (size_t i = 0; i < length; i++)
        if (un.sun_path[i] == '\0')
            un.sun_path[i] = '@';
    snprintf(buf, size, "unix:%s%.*s", here, (int)length, un.sun_path);
}

char *weft_addr_format(const weft_addr *a, char *buf, size_t size)
{
    switch (family_of(a)) {
    case AF_INET:
        format_v4(a, buf, size);
        break;
    case AF_INET6:
        format_v6(a, buf, size);
        break;
    case AF_UNIX:
        format_unix(a, buf, size);
        break;
    default:
        snprintf(buf, size, "-");
    }
    return buf;
}

/* ---- looking inside ----------------------------------------------------------------------------------------- */

unsigned weft_addr_port(const weft_addr *a)
{
    switch (family_of(a)) {
    case AF_INET:
        return ntohs(v4_of(a).sin_port);
    case AF_INET6:
        return ntohs(v6_of(a).sin6_port);
    default:
        return 0;
    }
}

/* The flow label is how packets travel and not where to, so it does not count. */
static bool equal_v6(const weft_addr *a, const weft_addr *b)
{
    struct sockaddr_in6 x = v6_of(a), y = v6_of(b);
    return x.sin6_port == y.sin6_port && x.sin6_scope_id == y.sin6_scope_id &&
           memcmp(&x.sin6_addr, &y.sin6_addr, sizeof x.sin6_addr) == 0;
}

int weft_addr_equal(const weft_addr *a, const weft_addr *b)
{
    if (family_of(a) != family_of(b))
        return 0;
    if (family_of(a) == AF_INET6)
        return equal_v6(a, b);
    /* The others have no byte inside their length that means nothing: from_sockaddr() saw to that. */
    return a->length_ == b->length_ && memcmp(a->storage_, b->storage_, a->length_) == 0;
}

/* Callers often pass the size of the space and not of the address: of a path, what follows the terminator is
 * ignored. */
static bool from_unix(weft_addr *a, const struct sockaddr *sa, size_t length)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t room = WF_MIN(length, sizeof un);
    memcpy(&un, sa, room);
    bool path = room > UNIX_PATH_AT && un.sun_path[0] != '\0';
    if (!path && length > sizeof un)
        return false; /* in an abstract name every byte counts */
    if (path) {
        size_t used = strnlen(un.sun_path, room - UNIX_PATH_AT);
        room = WF_MIN(UNIX_PATH_AT + used + 1, sizeof un); /* un is zero behind what was copied */
    }
    store(a, &un, room);
    return true;
}

static bool from_v4(weft_addr *a, const struct sockaddr *sa, size_t length)
{
    struct sockaddr_in v4;
    if (length < sizeof v4)
        return false;
    memcpy(&v4, sa, sizeof v4);
    memset(v4.sin_zero, 0, sizeof v4.sin_zero);
    store(a, &v4, sizeof v4);
    return true;
}

static bool from_v6(weft_addr *a, const struct sockaddr *sa, size_t length)
{
    struct sockaddr_in6 v6;
    if (length < sizeof v6)
        return false;
    memcpy(&v6, sa, sizeof v6);
    store(a, &v6, sizeof v6);
    return true;
}

int weft_addr_from_sockaddr(weft_addr *a, const struct sockaddr *sa, size_t length)
{
    sa_family_t family = AF_UNSPEC;
    if (length >= sizeof family)
        memcpy(&family, &sa->sa_family, sizeof family);
    if (family == AF_INET && from_v4(a, sa, length))
        return 0;
    if (family == AF_INET6 && from_v6(a, sa, length))
        return 0;
    if (family == AF_UNIX && from_unix(a, sa, length))
        return 0;
    memset(a, 0, sizeof *a);
    return WEFT_EINVAL;
}

const struct sockaddr *weft_addr_sockaddr(const weft_addr *a, size_t *length)
{
    if (length)
        *length = a->length_;
    return (const struct sockaddr *)(const void *)a->storage_;
}
