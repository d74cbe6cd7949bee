/* A name server for one zone, over UDP; ldns reads the zone and knows the wire format.
 *
 *   terminal 1:   ./14_dns 127.0.0.1:5300 my.zone        and Ctrl-C in the end; without a file it knows a zone of its own
 *   terminal 2:   dig @127.0.0.1 -p 5300 www.weft.test
 *
 * A strand and a socket per worker, all at one address: the kernel deals the questions out, each to one of them (reuse_port). A strand takes as many
 * as are there with one system call, writes each answer over its question, and sends them back with another. The zone is only read. */
#include <ldns/ldns.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft.h>

enum { BATCH = 32, ROOM = 1232 /* what fits everywhere without being cut into pieces */, PLAIN_ROOM = 512 };

static const char own_zone[] = "$ORIGIN weft.test.\n"
                               "$TTL 3600\n"
                               "@    IN SOA ns admin 1 7200 900 86400 300\n"
                               "@    IN NS  ns\n"
                               "@    IN MX  10 mail\n"
                               "mail IN A   192.0.2.25\n"
                               "www  IN A   192.0.2.80\n"
                               "www  IN A   192.0.2.81\n"
                               "www  IN AAAA 2001:db8::80\n"
                               "old  IN CNAME www\n"
                               "@    IN TXT \"many tasks, few threads\"\n";

/* ---- the zone ------------------------------------------------------------------------------------------------- */

typedef struct zone {
    ldns_zone *parsed;
    ldns_rr **records; /* by owner */
    size_t count;
} zone;

static int by_owner(const void *a, const void *b)
{
    return ldns_dname_compare(ldns_rr_owner(*(ldns_rr *const *)a), ldns_rr_owner(*(ldns_rr *const *)b));
}

static int zone_read(zone *z, FILE *file)
{
    int line = 0;
    ldns_status status = ldns_zone_new_frm_fp_l(&z->parsed, file, NULL, 3600, LDNS_RR_CLASS_IN, &line);
    if (status != LDNS_STATUS_OK || !ldns_zone_soa(z->parsed)) {
        fprintf(stderr, "line %d of the zone: %s\n", line, status ? ldns_get_errorstr_by_id(status) : "no SOA");
        return WEFT_EINVAL;
    }
    ldns_zone_push_rr(z->parsed, ldns_rr_clone(ldns_zone_soa(z->parsed))); /* it answers like any other */
    ldns_rr_list *list = ldns_zone_rrs(z->parsed);
    z->count = ldns_rr_list_rr_count(list);
    z->records = calloc(z->count, sizeof *z->records);
    if (!z->records)
        return WEFT_ENOMEM;
    for (size_t i = 0; i < z->count; i++)
        z->records[i] = ldns_rr_list_rr(list, i);
    qsort(z->records, z->count, sizeof *z->records, by_owner);
    return 0;
}

static int zone_load(zone *z, const char *path)
{
    FILE *file = path ? fopen(path, "r") : fmemopen((void *)(uintptr_t)own_zone, sizeof own_zone - 1, "r");
    if (!file)
        return perror(path), WEFT_ENOENT;
    int err = zone_read(z, file);
    fclose(file);
    return err;
}

/* The first record that @name has, or could have. */
static size_t find(const zone *z, const ldns_rdf *name)
{
    size_t low = 0, high = z->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (ldns_dname_compare(ldns_rr_owner(z->records[middle]), name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* ---- answers -------------------------------------------------------------------------------------------------- */

static ldns_pkt_rcode look_up(const zone *z, const ldns_rr *question, ldns_pkt *reply)
{
    const ldns_rdf *name = ldns_rr_owner(question), *origin = ldns_rr_owner(ldns_zone_soa(z->parsed));
    ldns_rr_type wanted = ldns_rr_get_type(question), type;
    size_t first = find(z, name), i = first, answers = 0;
    if (ldns_dname_compare(name, origin) != 0 && !ldns_dname_is_subdomain(name, origin))
        return LDNS_RCODE_REFUSED;
    for (; i < z->count && ldns_dname_compare(ldns_rr_owner(z->records[i]), name) == 0; i++) {
        type = ldns_rr_get_type(z->records[i]);
        if (type == wanted || type == LDNS_RR_TYPE_CNAME || wanted == LDNS_RR_TYPE_ANY)
            answers += ldns_pkt_push_rr(reply, LDNS_SECTION_ANSWER, ldns_rr_clone(z->records[i]));
    }
    if (answers == 0)
        ldns_pkt_push_rr(reply, LDNS_SECTION_AUTHORITY, ldns_rr_clone(ldns_zone_soa(z->parsed)));
    return i > first ? LDNS_RCODE_NOERROR : LDNS_RCODE_NXDOMAIN;
}

static void compose(const zone *z, const ldns_pkt *query, ldns_pkt *reply)
{
    const ldns_rr *question = ldns_rr_list_rr(ldns_pkt_question(query), 0);
    ldns_pkt_set_id(reply, ldns_pkt_id(query));
    ldns_pkt_set_opcode(reply, ldns_pkt_get_opcode(query));
    ldns_pkt_set_rd(reply, ldns_pkt_rd(query));
    ldns_pkt_set_qr(reply, true);
    ldns_pkt_set_aa(reply, true);
    if (ldns_pkt_edns(query))
        ldns_pkt_set_edns_udp_size(reply, ROOM);
    ldns_pkt_push_rr(reply, LDNS_SECTION_QUESTION, ldns_rr_clone(question));
    ldns_pkt_set_rcode(reply, ldns_pkt_get_opcode(query) == LDNS_PACKET_QUERY ? look_up(z, question, reply)
                                                                              : LDNS_RCODE_NOTIMPL);
}

/* Without its answer, if that is too long: whoever asked would come back over TCP. Returns the length of what is now in @bytes; 0: nothing to say. */
static size_t encode(ldns_pkt *reply, uint8_t *bytes, size_t room)
{
    uint8_t *wire = NULL;
    size_t size = 0;
    if (ldns_pkt2wire(&wire, reply, &size) != LDNS_STATUS_OK)
        return 0;
    if (size > room && ldns_pkt_ancount(reply) > 0) {
        free(wire);
        ldns_rr_list_deep_free(ldns_pkt_answer(reply));
        ldns_pkt_set_answer(reply, ldns_rr_list_new());
        ldns_pkt_set_ancount(reply, 0);
        ldns_pkt_set_tc(reply, true);
        return encode(reply, bytes, room);
    }
    size = size <= room ? size : 0;
    memcpy(bytes, wire, size);
    free(wire);
    return size;
}

/* The question in @bytes becomes its answer. Returns the answer's length, 0 for what is no question. */
static size_t answer(const zone *z, uint8_t *bytes, size_t size)
{
    ldns_pkt *query;
    size_t length = 0;
    if (ldns_wire2pkt(&query, bytes, size) != LDNS_STATUS_OK)
        return 0;
    ldns_pkt *reply = ldns_pkt_new();
    if (reply && !ldns_pkt_qr(query) && ldns_pkt_qdcount(query) == 1) {
        size_t room = ldns_pkt_edns(query) ? ldns_pkt_edns_udp_size(query) : 0;
        compose(z, query, reply);
        length = encode(reply, bytes, room < PLAIN_ROOM ? PLAIN_ROOM : room > ROOM ? ROOM : room);
    }
    ldns_pkt_free(reply);
    ldns_pkt_free(query);
    return length;
}

/* ---- the server ----------------------------------------------------------------------------------------------- */

typedef struct server {
    weft_udp *udp;
    const zone *zone;
} server;
static atomic_ullong answered;

/* One that cannot be sent (its sender gave port 0, say) does not keep the others. */
static int send_all(weft_udp *udp, const weft_datagram *list, int n)
{
    for (int at = 0, sent; at<n; at += sent> 0 ? sent : 1) {
        sent = weft_udp_send_batch(udp, list + at, n - at);
        if (sent == WEFT_ECANCELED || sent == WEFT_ECLOSED)
            return sent;
        atomic_fetch_add_explicit(&answered, sent > 0 ? (unsigned)sent : 0, memory_order_relaxed);
    }
    return 0;
}

static void *serve(void *arg)
{
    const server *s = arg;
    uint8_t bytes[BATCH][ROOM];
    weft_datagram list[BATCH];
    int n, replies;
    do {
        for (int i = 0; i < BATCH; i++)
            list[i] = (weft_datagram){.data = bytes[i], .size = ROOM};
        n = weft_udp_recv_batch(s->udp, list, BATCH);
        replies = 0;
        for (int i = 0; i < n; i++) {
            list[i].size = list[i].truncated ? 0 : answer(s->zone, list[i].data, list[i].length);
            if (list[i].size > 0)
                list[replies++] = list[i];
        }
    } while (n >= 0 && (replies == 0 || send_all(s->udp, list, replies) == 0));
    return NULL;
}

/* One socket for each worker, the first of which may choose the port. */
static int open_all(server *servers, unsigned n, const char *address, const zone *z)
{
    weft_udp_options options = {.reuse_port = n > 1, .receive_buffer = 1 << 20};
    char text[WEFT_ADDR_TEXT];
    weft_addr addr;
    for (unsigned i = 0; i < n; i++) {
        servers[i].zone = z;
        int err = weft_udp_bind(&servers[i].udp, i ? text : address, &options);
        if (err < 0 || (err = weft_udp_local(servers[i].udp, &addr)) < 0)
            return err;
        weft_addr_format(&addr, text, sizeof text);
    }
    printf("listening on %s\n", text);
    return fflush(stdout);
}

static void *app(void *arg)
{
    char **argv = arg;
    unsigned n = weft_runtime_workers(NULL);
    server *servers = calloc(n, sizeof *servers);
    weft_group *group = NULL;
    zone z = {0};

    int err = servers ? zone_load(&z, argv[1] ? argv[2] : NULL) : WEFT_ENOMEM;
    if (err == 0 && (err = open_all(servers, n, argv[1] ? argv[1] : "127.0.0.1:5300", &z)) < 0)
        fprintf(stderr, "%s\n", weft_error_detail());
    if (err == 0)
        err = weft_group_create(&group);
    for (unsigned i = 0; i < n && err == 0; i++)
        err = weft_group_spawn(group, serve, &servers[i]);
    if (err == 0)
        err = weft_shutdown_signal();
    weft_group_close(group);
    for (unsigned i = 0; servers && i < n; i++)
        weft_udp_close(servers[i].udp);
    free(z.records);
    if (z.parsed)
        ldns_zone_deep_free(z.parsed);
    free(servers);
    printf("%llu answered, bye\n", (unsigned long long)answered);
    return err < 0 ? weft_fail(err) : NULL;
}

int main(int argc, char **argv)
{
    (void)argc;
    return weft_run(app, argv, NULL) < 0;
}
