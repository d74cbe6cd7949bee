/* stack_cool_test.c - what may happen to a stack's slab while its memory goes back to the system, outside the lock. */
#include <base/spare.h>
#include <runtime/stack.h>
#include <support/test.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of four slabs; the late one is of the third, and those of the fourth rest while that one cools. */
enum { STACKS = 1 + 8 + 64 + 64, LATE = 9, SIZE = 65536 };

static wf_stack *stacks[STACKS];
static void (*while_cooling)(void *at);

/* In the place of the C library's. */
int madvise(void *at, size_t size, int advice)
{
    void (*meanwhile)(void *) = while_cooling;
    if (advice == MADV_DONTNEED && meanwhile) {
        while_cooling = NULL;
        meanwhile(at);
    }
    return (int)syscall(SYS_madvise, at, size, advice);
}

/* Another worker: the last user of the slab puts its stack back, and the time of all the others has come. */
static void the_slab_is_left(void *at)
{
    unsigned char in_memory;
    wf_stack_put_slow(NULL, stacks[LATE]);
    for (int64_t later = 2; later <= 4; later++)
        wf_stacks_trim(later * WF_SPARE_PERIOD);
    cr_assert_eq(mincore(at, (size_t)sysconf(_SC_PAGESIZE), &in_memory), 0, "its memory is not ours any more");
}

/* The slab was unmapped while one of its stacks was with the system, which then worked on what somebody else may have mapped there. */
Test(stack_cool, a_slab_stays_while_one_of_its_stacks_cools)
{
    int err;
    cr_assert_eq(wf_stacks_acquire(), 0);
    for (int i = 0; i < STACKS; i++)
        cr_assert_not_null(stacks[i] = wf_stack_get_slow(NULL, SIZE, &err));
    for (int i = 0; i < STACKS; i++)
        if (i != LATE)
            wf_stack_put_slow(NULL, stacks[i]);
    wf_stacks_trim(0);
    while_cooling = the_slab_is_left;
    for (int64_t now = WF_SPARE_PERIOD; wf_stacks_trim(now) != WEFT_FOREVER; now += WF_SPARE_PERIOD)
        cr_assert_lt(now, 50 * WF_SPARE_PERIOD);
    cr_assert_null(while_cooling, "nothing was cooled");
    wf_stacks_release();
}
