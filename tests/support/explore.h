/* explore.h - what the models of state words share: the path that led here, and the states seen so far.
 *
 * For one *_test.c that has a small model: a struct without padding, whose bytes are its identity. Its own explore() asks
 * visit_first(), checks the state, then tries each choice of each thread between go_down() and go_up(). */
#ifndef WEFT_TEST_EXPLORE_H
#define WEFT_TEST_EXPLORE_H

#include <support/test.h>

/* ---- the path to the state that is looked at, for the message ---- */

static struct {
    uint8_t thread, at, choice;
} path[200];
static int depth;

static const char *path_text(void)
{
    static char text[sizeof path / sizeof *path * 12 + 100];
    int n = 0;
    for (int i = 0; i < depth; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, " %d:%d.%d", path[i].thread, path[i].at, path[i].choice);
    return text;
}

#define EXPECT(condition) cr_assert(condition, "path (thread:at.choice):%s", path_text())

static void go_down(int thread, uint8_t at, int choice)
{
    cr_assert_lt(depth, (int)(sizeof path / sizeof *path));
    path[depth].thread = (uint8_t)thread;
    path[depth].at = at;
    path[depth++].choice = (uint8_t)choice;
}

static void go_up(void) { depth--; }

/* ---- the visited states, by fingerprint ---- */

static size_t states;     /* so many */
static uint64_t *visited; /* open addressing; 0: empty */
static size_t visited_size;

/* @size: whole words. */
static uint64_t fingerprint(const void *model, size_t size)
{
    const unsigned char *bytes = model;
    uint64_t h = 0x9e3779b97f4a7c15;
    for (size_t i = 0; i < size / 8; i++) {
        uint64_t x;
        memcpy(&x, bytes + i * 8, 8);
        h = (h ^ x) * 0xff51afd7ed558ccd;
        h ^= h >> 32;
    }
    return h ? h : 1;
}

static void grow_visited(void)
{
    uint64_t *old = visited;
    size_t old_size = visited_size;
    visited_size = old_size ? old_size * 2 : 1 << 16;
    visited = calloc(visited_size, sizeof *visited);
    cr_assert_not_null(visited);
    for (size_t i = 0; i < old_size; i++) {
        size_t j = old[i] & (visited_size - 1);
        while (old[i] && visited[j])
            j = (j + 1) & (visited_size - 1);
        if (old[i])
            visited[j] = old[i];
    }
    free(old);
}

/* False: it was seen before. */
static bool visit_first(const void *model, size_t size)
{
    if (states * 2 >= visited_size)
        grow_visited();
    uint64_t h = fingerprint(model, size);
    size_t i = h & (visited_size - 1);
    for (; visited[i]; i = (i + 1) & (visited_size - 1))
        if (visited[i] == h)
            return false;
    visited[i] = h;
    states++;
    return true;
}

/* @states stays as it is. */
static void forget_visited(void)
{
    free(visited);
    visited = NULL;
    visited_size = 0;
}

#endif
