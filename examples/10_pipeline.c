/* A pipeline: channels between the stages, a select in each, and a token that stops them all.
 *
 *   ./10_pipeline
 *
 * Bounded channels hold a fast stage back until the next one has caught up. A stage waits for its channel or for the token,
 * whichever comes first; what a select has not chosen has neither been sent nor received. */
#include <stdio.h>
#include <weft.h>

WEFT_CHAN_TYPE(long, numbers);

typedef struct pipeline {
    weft_chan *plain, *squares;
    weft_token *stop;
} pipeline;

/* 0, or nonzero: stop. */
static int send_unless_stopped(pipeline *p, weft_chan *ch, long n)
{
    weft_case cases[] = {WEFT_TOKEN(p->stop), WEFT_SEND(ch, &n)};
    return weft_select_biased(cases, 2) != 1 || cases[1].status < 0;
}

static void *count(void *arg)
{
    pipeline *p = arg;
    for (long n = 1; send_unless_stopped(p, p->plain, n) == 0; n++)
        ;
    weft_chan_close(p->plain); /* the next stage takes what is left, and then sees the end */
    return "count";
}

static void *square(void *arg)
{
    pipeline *p = arg;
    long n;
    while (numbers_recv(p->plain, &n) == 0 && send_unless_stopped(p, p->squares, n * n) == 0)
        ;
    weft_chan_close(p->squares);
    return "square";
}

/* The third stage: prints until it has seen enough, or nothing has come for a second. */
static void print(pipeline *p)
{
    for (;;) {
        long n;
        weft_case cases[] = {WEFT_RECV(p->squares, &n), WEFT_AFTER(1 * WEFT_SEC)};
        int which = weft_select(cases, 2);
        if (which != 0 || cases[0].status < 0)
            return;
        if (n > 50)
            return;
        printf("%ld\n", n);
    }
}

static void *app(void *arg)
{
    pipeline p = {NULL, NULL, NULL};
    weft_group *stages;
    void *name;
    (void)arg;
    if (weft_group_create(&stages) < 0)
        return weft_fail(WEFT_ENOMEM);
    if (numbers_create(&p.plain, 4) == 0 && numbers_create(&p.squares, 4) == 0 && weft_token_create(&p.stop, NULL) == 0 &&
        weft_group_spawn(stages, count, &p) == 0 && weft_group_spawn(stages, square, &p) == 0)
        print(&p);
    puts("enough");
    weft_token_cancel(p.stop);
    int ended = 0;
    while (weft_group_next(stages, &name) == 0)
        ended++;
    printf("%d stages have ended by themselves\n", ended);
    weft_group_close(stages); /* nobody waits in the channels any more */
    weft_chan_free(p.plain);
    weft_chan_free(p.squares);
    weft_token_free(p.stop);
    return NULL;
}

int main(void) { return weft_run(app, NULL, NULL) < 0; }
