/* conversation.c - connections of soak_server, and how others end them.
 *
 * Each is served by a task of its own below the handler's, so that there is a handle to abort it by. Those whose client has said so are in a
 * list from which some are aborted, and in the scope of an era, which ends with every SIGHUP. */
#include "server.h"
#include <stdlib.h>
#include <string.h>

typedef struct conversation {
    weft_stream *peer;
    weft_aborter *aborter;
    struct conversation *next, **link; /* under the lock; link: NULL outside the list */
} conversation;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static conversation *fragile;
static unsigned fragile_count;

/* ---- eras ----------------------------------------------------------------------------------------------------- */

enum { ERAS_MOST = 64 };

/* The present one is the last; of those before, scopes are still left. All under the lock. */
static weft_token *eras[ERAS_MOST];
static unsigned era_count;

static void forget_eras(unsigned keep)
{
    unsigned left = 0;
    for (unsigned i = 0; i < era_count; i++)
        if (i >= era_count - keep || weft_token_free(eras[i]) != 0)
            eras[left++] = eras[i];
    era_count = left;
}

int next_era(void)
{
    int err = 0;
    pthread_mutex_lock(&lock);
    weft_token_cancel(era_count ? eras[era_count - 1] : NULL);
    forget_eras(0);
    if (era_count < ERAS_MOST && (err = weft_token_create(&eras[era_count], NULL)) == 0)
        era_count++;
    pthread_mutex_unlock(&lock);
    return err;
}

void last_era(void)
{
    pthread_mutex_lock(&lock);
    forget_eras(0);
    if (era_count > 0)
        atomic_fetch_add(&counted.wrong, 1);
    pthread_mutex_unlock(&lock);
}

static void join_era(weft_scope *scope)
{
    pthread_mutex_lock(&lock);
    (void)weft_scope_bind(scope, eras[era_count - 1]);
    pthread_mutex_unlock(&lock);
}

/* ---- those that may be aborted ---------------------------------------------------------------------------------- */

static void become_fragile(conversation *c)
{
    pthread_mutex_lock(&lock);
    if (!c->link) {
        c->next = fragile;
        c->link = &fragile;
        if (fragile)
            fragile->link = &c->next;
        fragile = c;
        fragile_count++;
    }
    pthread_mutex_unlock(&lock);
}

static void leave(conversation *c)
{
    pthread_mutex_lock(&lock);
    if (c->link) {
        *c->link = c->next;
        if (c->next)
            c->next->link = c->link;
        fragile_count--;
    }
    pthread_mutex_unlock(&lock);
}

int abort_somebody(uint64_t *luck)
{
    pthread_mutex_lock(&lock);
    conversation *c = fragile;
    for (unsigned i = fragile_count ? below(luck, fragile_count) : 0; i > 0; i--)
        c = c->next;
    int found = c && c->aborter;
    if (found)
        weft_aborter_abort(c->aborter);
    pthread_mutex_unlock(&lock);
    return found;
}

/* ---- the conversation ------------------------------------------------------------------------------------------- */

/* The frame comes back as it went. 0 if another may follow. */
static int answer(conversation *c, const frame *f)
{
    unsigned char *bytes = malloc(sizeof *f + f->size);
    if (!bytes)
        return -1;
    memcpy(bytes, f, sizeof *f);
    int done = -1;
    if ((f->size == 0 || weft_read_exact(c->peer, bytes + sizeof *f, f->size) == (ssize_t)f->size) &&
        labour(f, bytes + sizeof *f) == 0 && weft_write(c->peer, bytes, sizeof *f + f->size) > 0)
        done = 0;
    free(bytes);
    return done;
}

static int answer_in_era(conversation *c, const frame *f)
{
    weft_scope era;
    weft_scope_enter(&era, WEFT_FOREVER);
    join_era(&era);
    int done = answer(c, f);
    if (weft_scope_leave(&era) != 0)
        atomic_fetch_add(&counted.scopes, 1);
    return done;
}

static void *answer_all(void *arg)
{
    conversation *c = arg;
    frame f;
    while (weft_read_exact(c->peer, &f, sizeof f) == (ssize_t)sizeof f && f.magic == FRAME_MAGIC && f.size <= FRAME_MOST) {
        if (f.fragile)
            become_fragile(c);
        if ((f.fragile ? answer_in_era(c, &f) : answer(c, &f)) != 0)
            break;
    }
    return NULL;
}

void *converse(weft_stream *peer, void *arg)
{
    conversation c = {.peer = peer};
    weft_task *task;
    (void)arg;
    weft_stream_set_timeouts(peer, 60 * WEFT_SEC, 60 * WEFT_SEC);
    if (weft_spawn(&task, answer_all, &c) < 0)
        return NULL;
    pthread_mutex_lock(&lock);
    (void)weft_aborter_create(&c.aborter, task);
    pthread_mutex_unlock(&lock);
    int end = weft_join(task, NULL);
    if (end == WEFT_EABORTED)
        atomic_fetch_add(&counted.aborts, 1);
    else if (end < 0)
        weft_task_close(task); /* the server drains, and does not wait any longer */
    leave(&c);
    weft_aborter_free(c.aborter);
    return NULL;
}
