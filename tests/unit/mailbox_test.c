/* mailbox_test.c - letters come out once each and in the order of their posts; a parked owner misses none. */
#include <base/mailbox.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <support/test.h>
#include <time.h>

enum { POSTERS = 4, PER_POSTER = 50000, ROUNDS = 100000, PATIENCE_SECONDS = 30 };

typedef struct letter {
    wf_letter link;
    int poster, number;
} letter;

static letter *next_of(wf_letter *l) { return wf_container(l, letter, link); }

Test(mailbox, taking_from_an_empty_box_gives_nothing)
{
    wf_mailbox box = {{NULL}};
    cr_assert(wf_mailbox_empty(&box));
    cr_assert_null(wf_mailbox_take(&box));
}

Test(mailbox, posted_in_order_comes_out_in_order)
{
    wf_mailbox box = {{NULL}};
    letter letters[3] = {{{NULL}, 0, 0}, {{NULL}, 0, 1}, {{NULL}, 0, 2}};
    for (int i = 0; i < 3; i++)
        wf_mailbox_post(&box, &letters[i].link);
    cr_assert(!wf_mailbox_empty(&box));
    wf_letter *l = wf_mailbox_take(&box);
    for (int i = 0; i < 3; i++, l = l->next)
        cr_assert_eq(next_of(l)->number, i);
    cr_assert_null(l);
    cr_assert(wf_mailbox_empty(&box));
}

Test(mailbox, a_letter_taken_may_be_posted_again)
{
    wf_mailbox box = {{NULL}};
    letter a = {{NULL}, 0, 0};
    for (int i = 0; i < 3; i++) {
        wf_mailbox_post(&box, &a.link);
        cr_assert_eq(wf_mailbox_take(&box), &a.link);
        cr_assert_null(a.link.next);
        cr_assert_null(wf_mailbox_take(&box));
    }
}

typedef struct poster {
    pthread_t thread;
    wf_mailbox *box;
    letter *letters;
} poster;

static void *post_all(void *arg)
{
    poster *p = arg;
    for (int i = 0; i < PER_POSTER; i++)
        wf_mailbox_post(p->box, &p->letters[i].link);
    return NULL;
}

static void start_poster(poster *p, wf_mailbox *box, int id)
{
    p->box = box;
    p->letters = calloc(PER_POSTER, sizeof *p->letters);
    cr_assert_not_null(p->letters);
    for (int i = 0; i < PER_POSTER; i++) {
        p->letters[i].poster = id;
        p->letters[i].number = i;
    }
    cr_assert_eq(pthread_create(&p->thread, NULL, post_all, p), 0);
}

/* Takes until @count letters were seen or patience ends; returns those seen, or -1 when a poster's letters changed
 * their order. */
static int take_in_order(wf_mailbox *box, int count)
{
    int expected[POSTERS] = {0}, seen = 0;
    time_t give_up = time(NULL) + PATIENCE_SECONDS;
    while (seen < count && time(NULL) < give_up) {
        wf_letter *l = wf_mailbox_take(box);
        if (!l)
            sched_yield();
        for (; l; seen++) {
            letter *got = next_of(l);
            l = l->next;
            if (got->number != expected[got->poster]++)
                return -1;
        }
    }
    return seen;
}

Test(mailbox, four_posters_and_one_taker_lose_nothing_and_keep_each_posters_order)
{
    wf_mailbox box = {{NULL}};
    poster posters[POSTERS];
    for (int i = 0; i < POSTERS; i++)
        start_poster(&posters[i], &box, i);
    int seen = take_in_order(&box, POSTERS * PER_POSTER);
    for (int i = 0; i < POSTERS; i++)
        pthread_join(posters[i].thread, NULL);
    cr_assert_eq(seen, POSTERS * PER_POSTER, "saw %d", seen);
    cr_assert_null(wf_mailbox_take(&box));
    for (int i = 0; i < POSTERS; i++)
        free(posters[i].letters);
}

/* The handshake the box's orders are made for: say "parked", then look; post, then look for "parked". */
typedef struct parking {
    wf_mailbox box;
    wf_a32 parked;
    wf_a32 taken; /* rounds finished: the poster's permission to reuse the letter */
    wf_a32 give_up;
    sem_t bell;
    letter letter;
} parking;

static void *post_and_ring(void *arg)
{
    parking *p = arg;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        while (wf_load_acq(&p->taken) < round) {
            if (wf_load_rlx(&p->give_up))
                return NULL;
            sched_yield();
        }
        wf_mailbox_post(&p->box, &p->letter.link);
        if (wf_load_seq(&p->parked) && wf_swap_seq(&p->parked, 0))
            sem_post(&p->bell);
    }
    return NULL;
}

/* Sleeps unless there is a letter; false when nobody rang for a letter that is there (or none came) in time. */
static bool park(parking *p)
{
    struct timespec until;
    wf_swap_seq(&p->parked, 1);
    if (!wf_mailbox_empty(&p->box) && wf_swap_seq(&p->parked, 0))
        return true;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_SECONDS;
    return sem_timedwait(&p->bell, &until) == 0;
}

Test(mailbox, parked_then_look_against_post_then_look_misses_no_letter)
{
    parking p = {.letter = {{NULL}, 0, 0}};
    pthread_t thread;
    sem_init(&p.bell, 0, 0);
    cr_assert_eq(pthread_create(&thread, NULL, post_and_ring, &p), 0);
    uint32_t rounds = 0;
    while (rounds < ROUNDS) {
        if (wf_mailbox_take(&p.box))
            wf_store_rel(&p.taken, ++rounds);
        else if (!park(&p))
            break;
    }
    wf_store_rel(&p.give_up, 1);
    pthread_join(thread, NULL);
    sem_destroy(&p.bell);
    cr_assert_eq(rounds, (uint32_t)ROUNDS, "a letter waited for a bell that nobody rang, in round %u", rounds);
}
