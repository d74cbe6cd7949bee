/* address.c - where a console may listen, and in whose name a browser may ask.
 *
 * A page of somebody else can have its own name resolved to 127.0.0.1 and would then be of the same origin as the console. Its requests have that name in their
 * Host header. So only what no name server has a say in is answered: addresses and "localhost". */
#include <arpa/inet.h>
#include <console/console.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

static bool is_loopback(const struct sockaddr *sa)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (sa->sa_family == AF_INET) {
        memcpy(&v4, sa, sizeof v4);
        return ntohl(v4.sin_addr.s_addr) >> 24 == 127;
    }
    memcpy(&v6, sa, sizeof v6);
    const uint8_t *a = v6.sin6_addr.s6_addr;
    return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr) || (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr) && a[12] == 127);
}

int wf_console_address_check(const char *address, bool any)
{
    weft_addr addr;
    size_t length;
    if (strlen(address) >= WEFT_ADDR_TEXT || weft_addr_parse(&addr, address) < 0)
        return weft_error_set(WEFT_EINVAL, "console: \"%.128s\" is no address", address);
    const struct sockaddr *sa = weft_addr_sockaddr(&addr, &length);
    if (sa->sa_family != AF_INET && sa->sa_family != AF_INET6)
        return weft_error_set(WEFT_EINVAL, "console: %s is not of the internet", address);
    if (!any && !is_loopback(sa))
        return weft_error_set(WEFT_EINVAL, "console: %s is not of the loopback", address);
    return 0;
}

bool wf_console_host_is_known(const char *host)
{
    char url[512], name[256];
    struct http_parser_url parts;
    struct in6_addr ignored;
    int size = snprintf(url, sizeof url, "http://%s/", host);
    http_parser_url_init(&parts);
    if (size < 0 || (size_t)size >= sizeof url || http_parser_parse_url(url, (size_t)size, 0, &parts) != 0)
        return false;
    size_t length = parts.field_data[UF_HOST].len;
    /* The host, and perhaps a port: no path, no user. */
    if ((parts.field_set & ~(1u << UF_PORT)) != (1u << UF_SCHEMA | 1u << UF_HOST | 1u << UF_PATH) ||
        parts.field_data[UF_PATH].len != 1 || length >= sizeof name)
        return false;
    snprintf(name, sizeof name, "%.*s", (int)length, url + parts.field_data[UF_HOST].off);
    return strcasecmp(name, "localhost") == 0 || inet_pton(AF_INET, name, &ignored) == 1 ||
           inet_pton(AF_INET6, name, &ignored) == 1;
}
