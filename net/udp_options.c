/* udp_options.c - what can be set on a datagram socket later: hops, broadcast, multicast. IPv4 and IPv6 have a name of their own for everything. */
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <net/socket.h>
#include <net/udp.h>
#include <netinet/in.h>
#include <string.h>

enum { MOST_HOPS = 255, DEFAULT_HOPS = -1 };

/* An IPv6 socket may send IPv4 too, if the system likes. */
int wf_udp_set_ttl(int fd, int family, unsigned hops)
{
    int value = hops ? (int)hops : DEFAULT_HOPS;
    if (hops > MOST_HOPS)
        return WEFT_EINVAL;
    if (family == AF_INET)
        return wf_set_option(fd, IPPROTO_IP, IP_TTL, value);
    if (family != AF_INET6)
        return WEFT_ENOTSUP;
    wf_set_option(fd, IPPROTO_IP, IP_TTL, value);
    return wf_set_option(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, value);
}

int weft_udp_set_ttl(weft_udp *u, unsigned ttl)
{
    if (!u || ttl > MOST_HOPS)
        return WEFT_EINVAL;
    int err, fd = wf_source_visit(&u->source, &err);
    if (err < 0)
        return err;
    err = wf_udp_set_ttl(fd, wf_udp_extra_of(u)->family, ttl);
    wf_source_leave(&u->source);
    return err;
}

int weft_udp_set_broadcast(weft_udp *u, unsigned on)
{
    if (!u)
        return WEFT_EINVAL;
    int err, fd = wf_source_visit(&u->source, &err);
    if (err < 0)
        return err;
    err = wf_set_option(fd, SOL_SOCKET, SO_BROADCAST, on != 0);
    wf_source_leave(&u->source);
    return err;
}

/* ---- multicast ------------------------------------------------------------------------------------------------- */

/* 0 or a negative code; *@index 0: the system chooses. */
WF_NOINLINE static int find_interface(const char *name, unsigned *index)
{
    *index = name ? if_nametoindex(name) : 0;
    return name && *index == 0 ? -errno : 0;
}

WF_NOINLINE static int set_bytes(int fd, int level, int name, const void *value, socklen_t size)
{
    return setsockopt(fd, level, name, value, size) == 0 ? 0 : -errno;
}

static int member_v4(int fd, bool join, const weft_addr *group, unsigned interface)
{
    struct sockaddr_in v4;
    memcpy(&v4, group->storage_, sizeof v4);
    struct ip_mreqn request = {.imr_multiaddr = v4.sin_addr, .imr_ifindex = (int)interface};
    return set_bytes(fd, IPPROTO_IP, join ? IP_ADD_MEMBERSHIP : IP_DROP_MEMBERSHIP, &request, sizeof request);
}

/* The address may name the interface itself: "[ff02::1%eth0]:0". */
static int member_v6(int fd, bool join, const weft_addr *group, unsigned interface)
{
    struct sockaddr_in6 v6;
    memcpy(&v6, group->storage_, sizeof v6);
    struct ipv6_mreq request = {.ipv6mr_multiaddr = v6.sin6_addr,
                                .ipv6mr_interface = interface ? interface : v6.sin6_scope_id};
    return set_bytes(fd, IPPROTO_IPV6, join ? IPV6_JOIN_GROUP : IPV6_LEAVE_GROUP, &request, sizeof request);
}

static int member_of(int fd, bool join, const weft_addr *group, unsigned interface)
{
    switch (weft_addr_sockaddr(group, NULL)->sa_family) {
    case AF_INET:
        return member_v4(fd, join, group, interface);
    case AF_INET6:
        return member_v6(fd, join, group, interface);
    default:
        return WEFT_EINVAL;
    }
}

static int member(weft_udp *u, bool join, const weft_addr *group, const char *name)
{
    unsigned interface;
    int err, fd;
    if (!u || !group)
        return WEFT_EINVAL;
    if ((err = find_interface(name, &interface)) < 0 || (fd = wf_source_visit(&u->source, &err), err < 0))
        return err;
    err = member_of(fd, join, group, interface);
    wf_source_leave(&u->source);
    return err;
}

int weft_udp_join(weft_udp *u, const weft_addr *group, const char *interface)
{
    return member(u, true, group, interface);
}

int weft_udp_leave(weft_udp *u, const weft_addr *group, const char *interface)
{
    return member(u, false, group, interface);
}

static int leave_by(int fd, bool v6, unsigned interface)
{
    struct ip_mreqn request = {.imr_ifindex = (int)interface};
    return v6 ? wf_set_option(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, (int)interface)
              : set_bytes(fd, IPPROTO_IP, IP_MULTICAST_IF, &request, sizeof request);
}

/* As a byte, which every system takes for IPv4. */
static int set_v4(int fd, int name, int value)
{
    unsigned char byte = (unsigned char)value;
    return set_bytes(fd, IPPROTO_IP, name, &byte, sizeof byte);
}

static int set_multicast(int fd, bool v6, int ttl, int loop, unsigned interface)
{
    int err = 0;
    if (ttl >= 0)
        err = v6 ? wf_set_option(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, ttl) : set_v4(fd, IP_MULTICAST_TTL, ttl);
    if (err == 0 && loop >= 0)
        err = v6 ? wf_set_option(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, loop != 0)
                 : set_v4(fd, IP_MULTICAST_LOOP, loop != 0);
    return err == 0 && interface ? leave_by(fd, v6, interface) : err;
}

int weft_udp_set_multicast(weft_udp *u, int ttl, int loop, const char *interface)
{
    unsigned index;
    int err, fd;
    if (!u || ttl > MOST_HOPS)
        return WEFT_EINVAL;
    if ((err = find_interface(interface, &index)) < 0 || (fd = wf_source_visit(&u->source, &err), err < 0))
        return err;
    err = set_multicast(fd, wf_udp_extra_of(u)->family == AF_INET6, ttl, loop, index);
    wf_source_leave(&u->source);
    return err;
}
