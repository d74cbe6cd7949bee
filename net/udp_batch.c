/* udp_batch.c - many datagrams by one system call, and what travels beside them.
 *
 * Linux takes and gives many messages at once (sendmmsg, recvmmsg), cuts one buffer into datagrams (UDP_SEGMENT) and joins them again (UDP_GRO).
 * Where there are no such calls they are made one by one; where nobody cuts, it is done here. The kernel may also refuse to cut at the moment of
 * sending (no checksums, a device that cannot, segments longer than its packets): then the rest of the batch is cut here.
 *
 * Neighbours of one size for one peer go to the kernel as one buffer that it cuts: so they pass its layers once.
 *
 * What is under way is one datagram from one of its bytes on: an interrupted or failed batch has sent those before it. */
#include <errno.h>
#include <net/udp.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>

enum { AT_ONCE = 64, CONTROLS = 24, MOST_SEGMENTS = 64, MOST_BYTES = 65507, JOINED_SIZE = 1232, ECN = 3 };

/* ---- messages -------------------------------------------------------------------------------------------------- */

#ifdef __linux__
typedef struct mmsghdr message;
#else
typedef struct message {
    struct msghdr msg_hdr;
    unsigned msg_len;
} message;
#endif

/* How many, or a negative code if not even the first. */
static int one_by_one(int fd, message *m, unsigned n, bool receive)
{
    unsigned i;
    for (i = 0; i < n; i++) {
        ssize_t done = receive ? recvmsg(fd, &m[i].msg_hdr, 0) : sendmsg(fd, &m[i].msg_hdr, MSG_NOSIGNAL);
        if (done < 0)
            return i > 0 ? (int)i : -errno;
        m[i].msg_len = (unsigned)done;
    }
    return (int)i;
}

WF_NOINLINE static int transfer(int fd, message *m, unsigned n, bool receive)
{
#ifdef __linux__
    int done = receive ? recvmmsg(fd, m, n, 0, NULL) : sendmmsg(fd, m, n, MSG_NOSIGNAL);
    if (done >= 0 || errno != ENOSYS)
        return done >= 0 ? done : -errno;
#endif
    return one_by_one(fd, m, n, receive);
}

/* ---- what travels beside them ---------------------------------------------------------------------------------- */

typedef union control {
    struct cmsghdr align;
    char bytes[3 * CMSG_SPACE(sizeof(int))];
} control;

/* @header's buffer has room for what it never has more than three of. */
static void add_control(struct msghdr *header, control *c, int level, int type, const void *value, size_t size)
{
    struct cmsghdr one = {.cmsg_level = level, .cmsg_type = type, .cmsg_len = CMSG_LEN(size)};
    char *at = c->bytes + header->msg_controllen;
    header->msg_control = c->bytes;
    memcpy(at, &one, sizeof one);
    memcpy(at + CMSG_LEN(0), value, size);
    header->msg_controllen += CMSG_SPACE(size);
}

/* Whoever goes by IPv4, from an IPv6 socket too, looks at the first; the other is for IPv6 alone. */
static void add_ecn(struct msghdr *header, control *c, int family, int ecn)
{
    add_control(header, c, IPPROTO_IP, IP_TOS, &ecn, sizeof ecn);
    if (family == AF_INET6)
        add_control(header, c, IPPROTO_IPV6, IPV6_TCLASS, &ecn, sizeof ecn);
}

static int int_of(const struct cmsghdr *c)
{
    int value = 0;
    memcpy(&value, CMSG_DATA(c), WF_MIN(sizeof value, c->cmsg_len - CMSG_LEN(0)));
    return value;
}

static void read_control(weft_datagram *d, struct msghdr *header)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS)
            d->ecn = *CMSG_DATA(c) & ECN; /* a byte */
        else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS)
            d->ecn = (unsigned)int_of(c) & ECN;
#ifdef UDP_GRO
        else if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO && (size_t)int_of(c) < d->length)
            d->segment = (unsigned)int_of(c);
#endif
    }
}

/* ---- receiving ------------------------------------------------------------------------------------------------- */

typedef struct recv_batch {
    wf_source_op op; /* first */
    weft_datagram *list;
    unsigned n;
} recv_batch;

static void prepare(message *m, struct iovec *piece, weft_datagram *d)
{
    *piece = (struct iovec){d->data, d->size};
    *m = (message){.msg_hdr = {.msg_name = wf_udp_name(&d->address),
                               .msg_namelen = sizeof(struct sockaddr_storage),
                               .msg_iov = piece,
                               .msg_iovlen = 1}};
}

static void received(weft_datagram *d, message *m)
{
    d->length = m->msg_len;
    d->truncated = (m->msg_hdr.msg_flags & MSG_TRUNC) != 0;
    d->segment = d->ecn = 0;
    wf_udp_named(&d->address, m->msg_hdr.msg_namelen);
    if (m->msg_hdr.msg_controllen > 0)
        read_control(d, &m->msg_hdr);
}

/* One of ECN and one of GRO. */
typedef union told {
    struct cmsghdr align;
    char bytes[2 * CMSG_SPACE(sizeof(int))];
} told;

/* @beside: one for each, or NULL. */
static int receive(int fd, weft_datagram *list, unsigned n, told *beside)
{
    message messages[AT_ONCE];
    struct iovec pieces[AT_ONCE];
    for (unsigned i = 0; i < n; i++) {
        prepare(&messages[i], &pieces[i], &list[i]);
        if (beside) {
            messages[i].msg_hdr.msg_control = beside[i].bytes;
            messages[i].msg_hdr.msg_controllen = sizeof beside[i].bytes;
        }
    }
    int done = transfer(fd, messages, n, true);
    for (int i = 0; i < done; i++)
        received(&list[i], &messages[i]);
    return done;
}

/* Apart, because few have a stack to spare for what few need. */
WF_NOINLINE static int receive_told(int fd, weft_datagram *list, unsigned n)
{
    told beside[AT_ONCE];
    return receive(fd, list, n, beside);
}

/* Fewer than there was room for: there are no more; or the next is an error, which has been put back. */
static ssize_t attempt_recv(wf_source_op *op, bool *drained)
{
    recv_batch *b = wf_container(op, recv_batch, op);
    wf_udp_extra *extra = wf_udp_extra_of((weft_udp *)(void *)op->source);
    int fd = wf_load_rlx(&op->source->fd);
    int n = extra->told ? receive_told(fd, b->list, b->n) : receive(fd, b->list, b->n, NULL);
    *drained = n > 0 && (unsigned)n < b->n && !extra->fails;
    return n;
}

static bool makes_sense(const weft_datagram *list, int n)
{
    if (!list || n <= 0)
        return false;
    for (int i = 0; i < n; i++)
        if (!list[i].data && list[i].size > 0)
            return false;
    return true;
}

int weft_udp_recv_batch(weft_udp *u, weft_datagram *list, int n)
{
    if (!u || !makes_sense(list, n))
        return WEFT_EINVAL;
    recv_batch b = {.op = {.source = &u->source, .direction = WF_READ, .attempt = attempt_recv},
                    .list = list,
                    .n = WF_MIN((unsigned)n, AT_ONCE)};
    return (int)wf_await(&wf_source_op_ops, &b, WEFT_FOREVER);
}

/* ---- sending --------------------------------------------------------------------------------------------------- */

/* The first datagram that is not sent yet, and how much of it is. */
typedef struct place {
    int index;
    size_t offset;
} place;

typedef struct send_batch {
    wf_udp_send send; /* first */
    const weft_datagram *list;
    int n;
    bool by_hand; /* the kernel will not cut, or not these */
    place at;
} send_batch;

/* What one message carries: several equal datagrams, one, or a part of one. */
typedef struct part {
    const weft_datagram *datagram; /* the first */
    size_t offset, size;           /* of it */
    size_t segment;                /* where the kernel has to cut; 0: nowhere */
    unsigned count;                /* datagrams; the last of several may be shorter */
    bool last;                     /* nothing of it is left */
} part;

/* Full ones only, so that what comes after begins a datagram again. */
static size_t most_of(size_t segment)
{
    size_t fit = WF_MIN((size_t)MOST_SEGMENTS, (size_t)MOST_BYTES / segment);
    return fit > 0 ? fit * segment : segment;
}

static bool same_way(const weft_datagram *a, const weft_datagram *b)
{
    return a->ecn == b->ecn && a->address.length_ == b->address.length_ &&
           memcmp(a->address.storage_, b->address.storage_, a->address.length_) == 0;
}

/* How many from @index on go together: of one size that every path carries, to one peer. At most @room. */
static unsigned joined_at(const send_batch *b, int index, unsigned room)
{
    const weft_datagram *d = &b->list[index];
    unsigned n = 1, most = WF_MIN(WF_MIN(room, MOST_SEGMENTS), (unsigned)(b->n - index));
    if (b->by_hand || d->size == 0 || d->size > JOINED_SIZE)
        return 1;
    most = WF_MIN(most, (unsigned)(MOST_BYTES / d->size));
    for (; n < most; n++) {
        const weft_datagram *next = &d[n];
        bool whole = next->segment == 0 || next->segment >= next->size;
        if (!whole || next->size == 0 || next->size > d->size || !same_way(d, next))
            break;
        if (next->size < d->size)
            return n + 1;
    }
    return n;
}

/* With room for @room pieces. */
static part part_at(const send_batch *b, place at, unsigned room)
{
    const weft_datagram *d = &b->list[at.index];
    size_t rest = d->size - at.offset, size = rest;
    if (d->segment == 0 || d->segment >= d->size) {
        unsigned count = joined_at(b, at.index, room);
        return (part){.datagram = d, .size = size, .segment = count > 1 ? size : 0, .count = count, .last = true};
    }
    if (d->segment < rest)
        size = b->by_hand ? d->segment : WF_MIN(rest, most_of(d->segment));
    return (part){.datagram = d,
                  .offset = at.offset,
                  .size = size,
                  .segment = size > d->segment ? d->segment : 0,
                  .count = 1,
                  .last = size == rest};
}

static place after(place at, const part *p)
{
    return p->last ? (place){at.index + (int)p->count, 0} : (place){at.index, at.offset + p->size};
}

static void put(message *m, struct iovec *pieces, const part *p)
{
    size_t length = 0;
    const struct sockaddr *sa = weft_addr_sockaddr(&p->datagram->address, &length);
    for (unsigned i = 0; i < p->count; i++)
        pieces[i] = (struct iovec){p->datagram[i].data, p->datagram[i].size};
    if (p->count == 1)
        pieces[0] = (struct iovec){(char *)p->datagram->data + p->offset, p->size};
    *m = (message){.msg_hdr = {.msg_name = length ? (void *)(uintptr_t)sa : NULL,
                               .msg_namelen = (socklen_t)length,
                               .msg_iov = pieces,
                               .msg_iovlen = p->count}};
}

static bool needs_control(const part *p) { return p->segment || p->datagram->ecn; }

static void put_control(message *m, control *c, const part *p, int family)
{
    memset(c, 0, sizeof *c);
#ifdef UDP_SEGMENT
    uint16_t segment = (uint16_t)p->segment;
    if (segment)
        add_control(&m->msg_hdr, c, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof segment);
#endif
    if (p->datagram->ecn)
        add_ecn(&m->msg_hdr, c, family, (int)p->datagram->ecn);
}

/* Moves on by @sent messages, which were made up in just this way. */
static void move_on(send_batch *b, int sent)
{
    unsigned used = 0;
    for (int i = 0; i < sent; i++) {
        part p = part_at(b, b->at, AT_ONCE - used);
        used += p.count;
        b->at = after(b->at, &p);
    }
}

/* One system call. How many messages went, or a negative code with none gone. */
static int send_some(send_batch *b, int fd, int family)
{
    message messages[AT_ONCE];
    struct iovec pieces[AT_ONCE];
    control controls[CONTROLS];
    unsigned n = 0, used = 0, beside = 0;
    for (place at = b->at; at.index < b->n && used < AT_ONCE; n++) {
        part p = part_at(b, at, AT_ONCE - used);
        if (needs_control(&p) && beside == CONTROLS)
            break;
        put(&messages[n], &pieces[used], &p);
        if (needs_control(&p))
            put_control(&messages[n], &controls[beside++], &p, family);
        used += p.count;
        at = after(at, &p);
    }
    int sent = transfer(fd, messages, n, false);
    move_on(b, sent);
    return sent;
}

/* The first of them was to be cut, and this may be why it did not go: by hand it will show. Those that were only joined are not joined again. */
static bool refused_to_cut(send_batch *b, wf_udp_extra *extra, int err)
{
    part p = part_at(b, b->at, AT_ONCE);
    if (b->by_hand || !p.segment || (err != WEFT_EINVAL && err != -EIO && err != WEFT_EMSGSIZE && err != -EOPNOTSUPP))
        return false;
    if (p.count > 1)
        wf_store_rlx(&extra->gso, WF_UDP_GSO_NO);
    b->by_hand = true;
    return true;
}

static ssize_t attempt_send(wf_source_op *op, bool *drained)
{
    send_batch *b = wf_container(wf_container(op, wf_udp_send, op), send_batch, send);
    wf_udp_extra *extra = wf_udp_extra_of((weft_udp *)(void *)op->source);
    (void)drained;
    while (b->at.index < b->n) {
        int sent = send_some(b, wf_load_rlx(&op->source->fd), extra->family);
        if (sent < 0 && !refused_to_cut(b, extra, sent))
            return sent;
    }
    return b->n;
}

static ssize_t poll_send(void *arg, weft_context *cx)
{
    send_batch *b = arg;
    ssize_t n = wf_udp_send_poll(b, cx);
    return n != WEFT_PENDING && b->at.index > 0 ? b->at.index : n;
}

static ssize_t cancel_send(void *arg)
{
    send_batch *b = arg;
    wf_udp_send_cancel(b);
    return b->at.index > 0 ? b->at.index : WEFT_PENDING;
}

static const wf_op_ops send_ops = {.poll = poll_send, .cancel = cancel_send};

/* An older kernel would not refuse to cut: it would send the whole. So it is asked. */
WF_NOINLINE static bool can_cut(weft_udp *u)
{
#ifdef UDP_SEGMENT
    wf_udp_extra *extra = wf_udp_extra_of(u);
    uint32_t gso = wf_load_rlx(&extra->gso);
    int value;
    if (gso == WF_UDP_GSO_UNKNOWN) {
        int fd = wf_load_rlx(&u->source.fd);
        bool known = getsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &value, &(socklen_t){sizeof value}) == 0;
        gso = known ? WF_UDP_GSO_YES : WF_UDP_GSO_NO;
        wf_store_rlx(&extra->gso, gso);
    }
    return gso == WF_UDP_GSO_YES;
#else
    (void)u;
    return false;
#endif
}

static bool is_marked_well(const weft_datagram *list, int n)
{
    for (int i = 0; i < n; i++)
        if (list[i].ecn > ECN)
            return false;
    return true;
}

int weft_udp_send_batch(weft_udp *u, const weft_datagram *list, int n)
{
    if (!u || !makes_sense(list, n) || !is_marked_well(list, n))
        return WEFT_EINVAL;
    send_batch b = {.list = list, .n = n, .by_hand = !can_cut(u)};
    b.send.op = (wf_source_op){.source = &u->source, .direction = WF_WRITE, .attempt = attempt_send};
    int err = wf_udp_send_begin(&b.send);
    return err < 0 ? err : (int)wf_await(&send_ops, &b, WEFT_FOREVER);
}
