/* names.h - a name server of one's own: getaddrinfo() and freeaddrinfo() for the executable whose one file includes this.
 *
 * Tests say what is in it by names_set(). Answers are counted until they are freed. */
#ifndef NAMES_H
#define NAMES_H

#include <errno.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <support/latch.h>
#include <sys/socket.h>
#include <weft/net.h>

enum { MOST_ANSWERS = 24 };

typedef struct name {
    const char *host;
    const char *answers[MOST_ANSWERS]; /* "127.0.0.1:0": with the port that was asked for */
    int error;                         /* instead: EAI_… */
    int number;                        /* … and errno, for EAI_SYSTEM */
    latch *latch;                      /* not before it opens; or NULL */
    atomic_int asked;
} name;

static name *names_;
static size_t names_count;
static atomic_int names_asked; /* since then, whatever for */
static atomic_int names_busy;  /* who is asking; 0: the names are not looked at any more */
static atomic_int names_held;  /* answers that nobody has freed */

static inline void names_set(name *names, size_t n)
{
    names_ = names;
    names_count = n;
    names_asked = 0;
}

static name *names_find(const char *host)
{
    for (size_t i = 0; i < names_count; i++)
        if (strcmp(names_[i].host, host) == 0)
            return &names_[i];
    return NULL;
}

static int names_port(const char *service)
{
    return strcmp(service, "http") == 0 ? 80 : service[0] >= '0' && service[0] <= '9' ? atoi(service) : -1;
}

static struct addrinfo *names_answer(const char *text, int port)
{
    struct {
        struct addrinfo info;
        struct sockaddr_storage sa;
    } *made = calloc(1, sizeof *made);
    char with_port[WEFT_ADDR_TEXT];
    weft_addr addr;
    size_t length = strlen(text);
    if (strcmp(text + length - 2, ":0") == 0)
        snprintf(with_port, sizeof with_port, "%.*s:%d", (int)length - 2, text, port);
    else
        snprintf(with_port, sizeof with_port, "%s", text);
    if (!made || weft_addr_parse(&addr, with_port) < 0)
        abort();
    const struct sockaddr *sa = weft_addr_sockaddr(&addr, &length);
    memcpy(&made->sa, sa, length);
    made->info = (struct addrinfo){.ai_family = sa->sa_family,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_addr = (struct sockaddr *)&made->sa,
                                   .ai_addrlen = (socklen_t)length};
    names_held++;
    return &made->info;
}

static int names_ask(const char *host, const char *service, int family, struct addrinfo **out)
{
    name *n = names_find(host);
    struct addrinfo **end = out;
    if (n)
        n->asked++;
    if (n && n->latch)
        latch_pass(n->latch);
    if (!n || n->error) {
        errno = n ? n->number : 0;
        return n ? n->error : EAI_NONAME;
    }
    if (names_port(service) < 0)
        return EAI_SERVICE;
    for (int i = 0; i < MOST_ANSWERS && n->answers[i]; i++) {
        struct addrinfo *answer = names_answer(n->answers[i], names_port(service));
        *end = answer;
        if (family == AF_UNSPEC || family == answer->ai_family) {
            end = &answer->ai_next;
            continue;
        }
        freeaddrinfo(answer);
        *end = NULL;
    }
    return *out ? 0 : EAI_ADDRFAMILY;
}

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
    names_busy++;
    names_asked++;
    *out = NULL;
    int result = names_ask(host, service, hints->ai_family, out);
    names_busy--;
    return result;
}

void freeaddrinfo(struct addrinfo *info)
{
    for (struct addrinfo *next; info; info = next) {
        next = info->ai_next;
        free(info);
        names_held--;
    }
}

#endif
