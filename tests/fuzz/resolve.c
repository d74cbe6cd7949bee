/* resolve.c - what is decided about a host and a port before anybody is asked: address texts taken apart, and names that are none.
 *
 *   first byte even: "host:port" in one text    odd: the host, a zero byte, the port */
#include "fuzz.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <net/resolve.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <uv.h>

static bool all_digits(const char *text) { return strspn(text, "0123456789") == strlen(text); }

/* ---- a host and a port, by other means ------------------------------------------------------------------------- */

static bool is_port(const char *port)
{
    bool letter = false;
    if (strlen(port) == 0 || strlen(port) >= WF_SERVICE_SIZE)
        return false;
    if (all_digits(port))
        return strlen(port + strspn(port, "0")) <= 5 && atol(port) <= 65535;
    for (const char *c = port; *c; c++) {
        if (!isalnum((unsigned char)*c) && (c == port || !strchr("-_.+", *c)))
            return false;
        letter |= isalpha((unsigned char)*c) > 0;
    }
    return letter;
}

/* The last label, without the dot that may follow it. */
static bool last_label_is_number(const char *host)
{
    char copy[WF_HOST_SIZE];
    snprintf(copy, sizeof copy, "%s", host);
    size_t length = strlen(copy);
    if (length > 0 && copy[length - 1] == '.')
        copy[--length] = '\0';
    const char *dot = strrchr(copy, '.'), *label = dot ? dot + 1 : copy;
    return *label != '\0' && all_digits(label);
}

/* What must come out: 1, 0 or WEFT_EINVAL; with a colon in the host the address's own target knows. */
static int should_be(const char *host, const char *port)
{
    struct in_addr ignored;
    if (strlen(host) == 0 || strlen(host) >= WF_HOST_SIZE || !is_port(port))
        return WEFT_EINVAL;
    if (uv_inet_pton(AF_INET, host, &ignored) == 0)
        return all_digits(port);
    return last_label_is_number(host) ? WEFT_EINVAL : 0;
}

static void check_numeric(const char *host, const char *port)
{
    char text[WF_HOST_SIZE + WF_SERVICE_SIZE];
    weft_addr a, parsed;
    int result = wf_resolve_numeric(&a, host, port);
    FUZZ_EXPECT(result == 1 || result == 0 || result == WEFT_EINVAL);
    if (strchr(host, ':'))
        FUZZ_EXPECT(result != 1 || weft_addr_sockaddr(&a, &(size_t){0})->sa_family == AF_INET6);
    else
        FUZZ_EXPECT(result == should_be(host, port), "%s %s: %d", host, port, result);
    if (result != 1)
        return;
    snprintf(text, sizeof text, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
    FUZZ_EXPECT(weft_addr_parse(&parsed, text) == 0 && weft_addr_equal(&a, &parsed), "%s", text);
}

/* ---- the two kinds of input ------------------------------------------------------------------------------------ */

/* What comes apart goes together again, and nothing else comes apart. */
static void check_split(const char *text)
{
    char again[WF_HOST_SIZE + WF_SERVICE_SIZE];
    wf_host_port apart;
    weft_addr a, b;
    bool split = wf_host_port_split(&apart, text), parsed = weft_addr_parse(&a, text) == 0;
    if (!split) {
        const char *colon = strrchr(text, ':');
        FUZZ_EXPECT(!parsed || strncmp(text, "unix:", 5) == 0 || strlen(colon + 1) >= WF_SERVICE_SIZE, "%s", text);
        return;
    }
    FUZZ_EXPECT(strlen(apart.host) > 0 && !strchr(apart.port, ':') && strncmp(text, "unix:", 5) != 0);
    bool v6 = text[0] == '[', any = text[0] == ':';
    FUZZ_EXPECT(v6 == (strchr(apart.host, ':') != NULL));
    snprintf(again, sizeof again, v6 ? "[%s]:%s" : "%s:%s", any ? "" : apart.host, apart.port);
    FUZZ_EXPECT(strcmp(again, text) == 0, "%s became %s", text, again);
    check_numeric(apart.host, apart.port);
    if (parsed)
        FUZZ_EXPECT(wf_resolve_numeric(&b, apart.host, apart.port) == 1 && weft_addr_equal(&a, &b), "%s", text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = fuzz_open(data, size);
    bool two = fuzz_byte(&in) % 2;
    char *first = fuzz_take_text(&in), *second = fuzz_take_text(&in);
    if (two)
        check_numeric(first, second);
    else
        check_split(first);
    free(first);
    free(second);
    return 0;
}
