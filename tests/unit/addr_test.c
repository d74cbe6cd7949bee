/* addr_test.c - texts that are addresses, texts that are not, and the way back. */
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <support/test.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <weft/net.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static weft_addr parsed(const char *text)
{
    weft_addr a;
    cr_assert_eq(weft_addr_parse(&a, text), 0, "%s", text);
    return a;
}

static void expect_text(const weft_addr *a, const char *expected)
{
    char text[WEFT_ADDR_TEXT];
    cr_assert_eq(weft_addr_format(a, text, sizeof text), text);
    cr_assert_str_eq(text, expected, "%s, not %s", text, expected);
}

static void expect_round_trip(const char *text, const char *canonical)
{
    weft_addr a = parsed(text);
    expect_text(&a, canonical);
    weft_addr again = parsed(canonical);
    cr_assert(weft_addr_equal(&a, &again), "%s", text);
}

Test(addr, v4_parses_and_formats_back)
{
    expect_round_trip("1.2.3.4:80", "1.2.3.4:80");
    expect_round_trip("255.255.255.255:65535", "255.255.255.255:65535");
    expect_round_trip("127.0.0.1:0", "127.0.0.1:0");
}

Test(addr, a_port_alone_is_every_v4_address) { expect_round_trip(":80", "0.0.0.0:80"); }

Test(addr, v6_parses_and_formats_back_in_its_short_form)
{
    expect_round_trip("[::1]:80", "[::1]:80");
    expect_round_trip("[2001:DB8:0:0:0:0:0:1]:443", "[2001:db8::1]:443");
    expect_round_trip("[::]:0", "[::]:0");
    expect_round_trip("[::ffff:1.2.3.4]:9", "[::ffff:1.2.3.4]:9");
}

Test(addr, a_scope_is_a_number_or_the_name_of_an_interface)
{
    expect_round_trip("[fe80::1%4294967295]:80", "[fe80::1%4294967295]:80");
    expect_round_trip("[fe80::1%0]:80", "[fe80::1]:80");
    char name[IF_NAMESIZE], text[64], number[64];
    if (!if_indextoname(1, name))
        return;
    snprintf(text, sizeof text, "[fe80::1%%%s]:80", name);
    snprintf(number, sizeof number, "[fe80::1%%%u]:80", if_nametoindex(name));
    expect_round_trip(text, text);
    expect_round_trip(number, text);
}

Test(addr, unix_paths_and_abstract_names_parse_and_format_back)
{
    expect_round_trip("unix:/run/weft.sock", "unix:/run/weft.sock");
    expect_round_trip("unix:@weft", "unix:@weft");
    expect_round_trip("unix:/", "unix:/");
    expect_round_trip("unix:relative:80", "unix:relative:80");
}

Test(addr, what_is_not_exactly_an_address_is_refused_and_leaves_zero)
{
    /* clang-format off */
    static const char *const wrong[] = {
        "", "-", ":", "80", "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:99999999999999999999", "1.2.3.4:-1",
        "1.2.3.4:+1", "1.2.3.4: 80", "1.2.3.4:80 ", " 1.2.3.4:80", "1.2.3.4:80x", "1.2.3.4:0x50", "1.2.3.4:80:80",
        "1.2.3:80", "1.2.3.4.5:80", "1.2.3.256:80", "01.2.3.4:80", "1.2.3.4 :80", "localhost:80", "*:80", "::1:80",
        "[::1]", "[::1]:", "[::1]80", "[::1:80", "::1]:80", "[]:80", "[1.2.3.4]:80", "[::1]:80]", "[[::1]]:80",
        "[::1]x:80", "[::g]:80", "[fe80::1%]:80", "[fe80::1%4294967296]:80", "[fe80::1%no-such-interface-anywhere]:80",
        "[fe80::1%nosuchif0]:80", "[%1]:80", "unix", "unix:", "unix:@", "UNIX:/x", "unix/x",
        "[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd:eeee:ffff]:80",
    };
    /* clang-format on */
    static const weft_addr zero;
    for (size_t i = 0; i < COUNT(wrong); i++) {
        weft_addr a;
        memset(&a, 0xff, sizeof a);
        cr_assert_eq(weft_addr_parse(&a, wrong[i]), WEFT_EINVAL, "\"%s\"", wrong[i]);
        cr_assert_eq(memcmp(&a, &zero, sizeof a), 0, "\"%s\"", wrong[i]);
    }
    weft_addr a;
    cr_assert_eq(weft_addr_parse(&a, NULL), WEFT_EINVAL);
}

/* "unix:", @first, and x up to @length bytes behind the colon. */
static const char *unix_text(char *buf, char first, size_t length)
{
    memcpy(buf, "unix:", 5);
    memset(buf + 5, 'x', length);
    buf[5] = first;
    buf[5 + length] = '\0';
    return buf;
}

Test(addr, the_longest_path_fits_and_one_more_byte_does_not)
{
    size_t longest = sizeof((struct sockaddr_un *)0)->sun_path - 1;
    char text[256];
    weft_addr a;
    expect_round_trip(unix_text(text, '/', longest), text);
    expect_round_trip(unix_text(text, '@', longest), text);
    cr_assert_eq(weft_addr_parse(&a, unix_text(text, '/', longest + 1)), WEFT_EINVAL);
    cr_assert_eq(weft_addr_parse(&a, unix_text(text, '@', longest + 1)), WEFT_EINVAL);
}

Test(addr, zero_formats_as_a_dash_and_has_no_port)
{
    weft_addr zero = {0};
    size_t length = 1;
    expect_text(&zero, "-");
    cr_assert_eq(weft_addr_port(&zero), 0u);
    cr_assert_not_null(weft_addr_sockaddr(&zero, &length));
    cr_assert_eq(length, 0u);
}

Test(addr, formatting_into_too_little_space_cuts_and_terminates)
{
    static const char *const texts[] = {"1.2.3.4:80", "[fe80::1%77]:8080", "unix:/run/weft.sock", "unix:@weft"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        weft_addr a = parsed(texts[i]);
        for (size_t size = 1; size <= strlen(texts[i]) + 1; size++) {
            char buf[WEFT_ADDR_TEXT];
            memset(buf, '#', sizeof buf);
            weft_addr_format(&a, buf, size);
            cr_assert_eq(strlen(buf), size - 1, "%s cut at %zu: %s", texts[i], size, buf);
            cr_assert_eq(memcmp(buf, texts[i], size - 1), 0, "%s cut at %zu: %s", texts[i], size, buf);
            cr_assert_eq(buf[size], '#');
        }
    }
}

Test(addr, formatting_into_no_space_writes_nothing)
{
    weft_addr a = parsed("1.2.3.4:80");
    char c = '#';
    cr_assert_eq(weft_addr_format(&a, &c, 0), &c);
    cr_assert_eq(c, '#');
}

Test(addr, the_port_is_in_host_order)
{
    static const struct {
        const char *text;
        unsigned port;
    } cases[] = {
        {"1.2.3.4:80", 80},
        {"[::1]:65535", 65535},
        {":1", 1},
        {"unix:/x", 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        weft_addr a = parsed(cases[i].text);
        cr_assert_eq(weft_addr_port(&a), cases[i].port, "%s", cases[i].text);
    }
}

Test(addr, addresses_that_differ_in_one_thing_are_not_equal)
{
    static const char *const different[] = {
        "1.2.3.4:80",          "1.2.3.5:80", "1.2.3.4:81", "[::1]:80", "[::2]:80", "[::1]:81", "[::1%1]:80",
        "[::ffff:1.2.3.4]:80", "unix:/a",    "unix:/ab",   "unix:@a",  "unix:@ab", "unix:a",
    };
    for (size_t i = 0; i < COUNT(different); i++)
        for (size_t j = 0; j < COUNT(different); j++) {
            weft_addr a = parsed(different[i]), b = parsed(different[j]);
            cr_assert_eq(weft_addr_equal(&a, &b), i == j, "%s and %s", different[i], different[j]);
        }
}

Test(addr, equal_compares_meaning_and_not_padding)
{
    struct sockaddr_in v4;
    memset(&v4, 0xff, sizeof v4);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(80);
    v4.sin_addr.s_addr = htonl(0x01020304);
    weft_addr a = parsed("1.2.3.4:80"), b;
    cr_assert_eq(weft_addr_from_sockaddr(&b, (struct sockaddr *)&v4, sizeof v4), 0);
    cr_assert(weft_addr_equal(&a, &b));

    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(80), .sin6_flowinfo = htonl(7)};
    v6.sin6_addr = in6addr_loopback;
    a = parsed("[::1]:80");
    cr_assert_eq(weft_addr_from_sockaddr(&b, (struct sockaddr *)&v6, sizeof v6), 0);
    cr_assert(weft_addr_equal(&a, &b));
}

Test(addr, a_sockaddr_goes_in_and_comes_out)
{
    static const char *const texts[] = {"1.2.3.4:80", "[fe80::1%7]:80", "unix:/x", "unix:@x", "unix:x"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        weft_addr a = parsed(texts[i]), b;
        size_t length;
        const struct sockaddr *sa = weft_addr_sockaddr(&a, &length);
        cr_assert_eq(weft_addr_from_sockaddr(&b, sa, length), 0, "%s", texts[i]);
        cr_assert(weft_addr_equal(&a, &b), "%s", texts[i]);
        expect_text(&b, texts[i]);
        cr_assert_eq(weft_addr_from_sockaddr(&a, sa, length), 0, "%s into itself", texts[i]);
        cr_assert(weft_addr_equal(&a, &b), "%s into itself", texts[i]);
    }
}

Test(addr, a_length_of_the_whole_space_is_taken_for_that_of_the_address)
{
    union {
        struct sockaddr sa;
        struct sockaddr_un un;
        struct sockaddr_in v4;
        struct sockaddr_storage space;
    } u;
    weft_addr a, b = parsed("unix:/x");
    memset(&u, 0xff, sizeof u);
    u.un.sun_family = AF_UNIX;
    memcpy(u.un.sun_path, "/x", 3);
    cr_assert_eq(weft_addr_from_sockaddr(&a, &u.sa, sizeof u), 0);
    cr_assert(weft_addr_equal(&a, &b));

    memset(&u, 0, sizeof u);
    u.v4.sin_family = AF_INET;
    cr_assert_eq(weft_addr_from_sockaddr(&a, &u.sa, sizeof u), 0);
    expect_text(&a, "0.0.0.0:0");
}

Test(addr, unknown_families_and_lengths_are_refused_and_leave_zero)
{
    union {
        struct sockaddr sa;
        struct sockaddr_un un;
        struct sockaddr_storage space;
    } u;
    static const weft_addr zero;
    static const struct {
        int family;
        size_t length;
    } cases[] = {
        {AF_INET, 0},
        {AF_INET, 1},
        {AF_INET, 2},
        {AF_INET, sizeof(struct sockaddr_in) - 1},
        {AF_INET6, sizeof(struct sockaddr_in6) - 1},
        {AF_UNSPEC, sizeof u},
        {AF_NETLINK, sizeof u},
        {AF_UNIX, sizeof(struct sockaddr_un) + 1}, /* an abstract name, and too long for one */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        weft_addr a;
        memset(&a, 0xff, sizeof a);
        memset(&u, 0, sizeof u);
        u.sa.sa_family = (sa_family_t)cases[i].family;
        cr_assert_eq(weft_addr_from_sockaddr(&a, &u.sa, cases[i].length), WEFT_EINVAL, "case %zu", i);
        cr_assert_eq(memcmp(&a, &zero, sizeof a), 0, "case %zu", i);
    }
}

Test(addr, a_unix_path_without_a_terminator_keeps_to_its_length)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t path_at = offsetof(struct sockaddr_un, sun_path), length;
    char text[WEFT_ADDR_TEXT];
    weft_addr a;
    memset(un.sun_path, 'x', sizeof un.sun_path);
    cr_assert_eq(weft_addr_from_sockaddr(&a, (struct sockaddr *)&un, path_at + 3), 0);
    expect_text(&a, "unix:xxx");
    weft_addr_sockaddr(&a, &length);
    cr_assert_eq(length, path_at + 4, "with a terminator now");
    cr_assert_eq(weft_addr_from_sockaddr(&a, (struct sockaddr *)&un, sizeof un), 0);
    cr_assert_eq(strlen(weft_addr_format(&a, text, sizeof text)), 5 + sizeof un.sun_path);
}

Test(addr, a_nameless_unix_socket_and_zeros_in_a_name_can_be_shown)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "\0a\0b"};
    size_t path_at = offsetof(struct sockaddr_un, sun_path);
    weft_addr a;
    cr_assert_eq(weft_addr_from_sockaddr(&a, (struct sockaddr *)&un, path_at), 0);
    expect_text(&a, "unix:");
    cr_assert_eq(weft_addr_from_sockaddr(&a, (struct sockaddr *)&un, path_at + 4), 0);
    expect_text(&a, "unix:@a@b");
}

/* It showed as "unix:@x", an abstract name: whoever connected to that text got another socket. */
Test(addr, a_file_whose_name_begins_with_an_at_sign_does_not_show_as_an_abstract_name)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "@x"};
    weft_addr a;
    cr_assert_eq(weft_addr_from_sockaddr(&a, (struct sockaddr *)&un, offsetof(struct sockaddr_un, sun_path) + 3), 0);
    expect_text(&a, "unix:./@x");
    expect_round_trip("unix:./@x", "unix:./@x");
}

static void expect_bindable(const char *text)
{
    weft_addr a = parsed(text), bound;
    struct sockaddr_storage space;
    socklen_t space_length = sizeof space;
    size_t length;
    const struct sockaddr *sa = weft_addr_sockaddr(&a, &length);
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return; /* this machine has no such family */
    if (bind(fd, sa, (socklen_t)length) == 0) {
        cr_assert_eq(getsockname(fd, (struct sockaddr *)&space, &space_length), 0);
        cr_assert_eq(weft_addr_from_sockaddr(&bound, (struct sockaddr *)&space, space_length), 0);
        cr_assert_eq(weft_addr_port(&a), 0u);
        cr_assert(sa->sa_family != AF_UNIX || weft_addr_equal(&a, &bound), "%s", text);
        cr_assert(sa->sa_family == AF_UNIX || weft_addr_port(&bound) != 0, "%s", text);
    } else {
        cr_assert_eq(sa->sa_family, AF_INET6, "%s: only IPv6 may be missing", text);
    }
    close(fd);
}

Test(addr, the_system_takes_what_was_parsed_and_gives_it_back)
{
    char abstract[64];
    snprintf(abstract, sizeof abstract, "unix:@weft-addr-test-%d", (int)getpid());
    expect_bindable("127.0.0.1:0");
    expect_bindable("[::1]:0");
    expect_bindable(abstract);
}
