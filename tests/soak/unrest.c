/* unrest.c - what soak_server does to itself while there is a storm: aborts connections, and raises, cancels and forgets groups of tasks. */
#include "server.h"

static atomic_int on;

void unrest_set(int value) { atomic_store(&on, value); }

static void *job(void *arg)
{
    (void)arg;
    return NULL;
}

/* Waits for something, in one of several ways. */
static void *wait_somehow(void *arg)
{
    uint64_t luck = weft_self_id() * 0x9E3779B97F4A7C15u + 1;
    WEFT_SCOPE(patience, (1 + below(&luck, 30)) * WEFT_MS);
    switch (below(&luck, 8)) {
    case 0:
        weft_blocking(job, NULL, NULL);
        break;
    case 1:
        weft_token_wait(arg);
        break;
    case 2:
        weft_shield_enter();
        weft_sleep(2 * WEFT_MS);
        weft_shield_leave();
        break;
    case 3:
        (void)weft_yield();
        break;
    case 4:
    case 5:
        errand(&luck);
        break;
    default:
        weft_sleep(below(&luck, 50) * WEFT_MS);
    }
    return NULL;
}

/* Until all are done, the time is up, or somebody cancels the group. */
static void raise_group(uint64_t *luck)
{
    weft_token *token = NULL;
    weft_group *group;
    unsigned n = 1 + below(luck, 24);
    if (weft_token_create(&token, NULL) < 0)
        return;
    if (weft_group_create(&group) == 0) {
        WEFT_SCOPE(patience, below(luck, 20) * WEFT_MS);
        for (unsigned i = 0; i < n && weft_group_spawn(group, wait_somehow, token) == 0; i++)
            ;
        if (below(luck, 3) == 0)
            weft_group_cancel(group);
        else if (below(luck, 2))
            weft_token_cancel(token);
        (void)weft_group_wait(group);
        atomic_fetch_add(&counted.groups, weft_group_running(group) > 0);
        weft_group_close(group);
    }
    if (weft_token_free(token) != 0)
        atomic_fetch_add(&counted.wrong, 1);
}

void *unrest(void *arg)
{
    uint64_t luck = *(uint64_t *)arg;
    weft_interval beat;
    weft_interval_init(&beat, 4 * WEFT_MS, WEFT_MISSED_DELAY);
    while (weft_interval_tick(&beat, NULL) == 0) {
        if (!atomic_load(&on))
            continue;
        (void)abort_somebody(&luck);
        if (below(&luck, 4) == 0)
            raise_group(&luck);
    }
    return NULL;
}
