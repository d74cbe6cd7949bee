/* activation.c - the environment that a service manager leaves: three texts that anybody may have set.
 *
 *   header: which variables there are, by index or by name    then three texts (of LISTEN_PID only if it is not this process's), and the name
 *
 * None of the descriptors listens, so each one that is chosen is refused, and can be chosen again. Which it was shows in how. */
#include "fuzz.h"
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <weft/net.h>
#include <weft/runtime.h>

enum { FIRST = 3, OURS = 8, MOST = 1024 };

typedef struct scene {
    const char *fds, *names, *name; /* NULL: there is none */
    bool ours;                      /* LISTEN_PID */
    int index;
} scene;

/* All digits, and not larger than @most; -1. */
static long number(const char *text, long most)
{
    size_t digits = text ? strspn(text, "0123456789") : 0;
    if (digits == 0 || text[digits] != '\0')
        return -1;
    text += strspn(text, "0");
    return strlen(text) > 10 || atol(text) > most ? -1 : atol(text);
}

/* The first place of that name; -1. */
static int place_of(const char *names, const char *name, int n)
{
    char *copy = names ? strdup(names) : NULL, *rest = copy, *one;
    int place = -1;
    for (int i = 0; i < n && place < 0 && (one = strsep(&rest, ":")); i++)
        if (strcmp(one, name) == 0)
            place = i;
    free(copy);
    return place;
}

static int should_choose(const scene *s)
{
    long n = s->ours ? number(s->fds, INT_MAX - FIRST) : 0;
    int most = n < 0 ? 0 : n > MOST ? MOST : (int)n;
    int place = s->name ? place_of(s->names, s->name, most) : s->index;
    return place < most ? place : -1;
}

static void *take(void *arg)
{
    const scene *s = arg;
    int place = should_choose(s);
    bool open = place >= 0 && fcntl(FIRST + place, F_GETFD) >= 0;
    weft_listener *l = (weft_listener *)(void *)&l;
    int err = weft_listener_activated(&l, s->name, s->index);
    FUZZ_EXPECT(!l && err < 0 && err != WEFT_EBUSY, "%d", err);
    FUZZ_EXPECT((err == WEFT_ENOENT) == (place < 0), "%d, and place %d", err, place);
    FUZZ_EXPECT(place < 0 || (err == WEFT_EBADF) == !open, "%d, and place %d", err, place);
    return NULL;
}

static void set(const char *name, const char *value)
{
    FUZZ_EXPECT((value ? setenv(name, value, 1) : unsetenv(name)) == 0);
}

/* Before the runtime has any: every other one of the first is open, a pipe that nobody reads. */
static void make_descriptors(void)
{
    static bool made;
    int ends[2];
    if (made)
        return;
    made = true;
    FUZZ_EXPECT(pipe2(ends, O_CLOEXEC) == 0);
    for (int i = 0; i < OURS; i += 2)
        if (fcntl(FIRST + i, F_GETFD) < 0)
            FUZZ_EXPECT(dup2(ends[0], FIRST + i) == FIRST + i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = fuzz_open(data, size);
    unsigned what = fuzz_byte(&in);
    int8_t index = (int8_t)fuzz_byte(&in);
    char own[16], *texts[4];
    for (int i = 0; i < 4; i++)
        texts[i] = fuzz_take_text(&in);
    snprintf(own, sizeof own, "%d", (int)getpid());
    scene s = {.fds = what & 1 ? texts[0] : NULL,
               .names = what & 2 ? texts[1] : NULL,
               .name = what & 4 ? texts[2] : NULL,
               .index = index};
    const char *pid = what & 8 ? texts[3] : what & 16 ? NULL : own;
    s.ours = number(pid, INT_MAX) == getpid();
    make_descriptors();
    set("LISTEN_PID", pid);
    set("LISTEN_FDS", s.fds);
    set("LISTEN_FDNAMES", s.names);
    fuzz_run(take, &s);
    for (int i = 0; i < 4; i++)
        free(texts[i]);
    return 0;
}
