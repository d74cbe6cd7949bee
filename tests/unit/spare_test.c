/* spare_test.c - what lies about unused, and when it may go. */
#include <base/spare.h>
#include <support/test.h>
#include <weft/base.h>

#define P WF_SPARE_PERIOD

static unsigned drop_due(wf_spare *s, int64_t now)
{
    unsigned n = 0;
    for (; wf_spare_is_due(s, now); n++)
        wf_spare_drop(s);
    return n;
}

Test(spare, nothing_is_due_where_nothing_lies_about)
{
    wf_spare s = {0};
    cr_assert_not(wf_spare_is_due(&s, 5));
    cr_assert_eq(wf_spare_next(&s), WEFT_FOREVER);
    cr_assert_not(wf_spare_is_due(&s, 5 + 10 * P));
}

Test(spare, what_lay_unused_throughout_a_period_is_due_in_the_next)
{
    wf_spare s = {0};
    for (int i = 0; i < 3; i++)
        wf_spare_add(&s);
    cr_assert_eq(drop_due(&s, 100), 0u, "nobody knows for how long they have been there");
    cr_assert_eq(wf_spare_next(&s), 100 + P);
    cr_assert_eq(drop_due(&s, 100 + P - 1), 0u);
    cr_assert_eq(drop_due(&s, 100 + P), 3u);
    cr_assert_eq(wf_spare_next(&s), WEFT_FOREVER);
}

Test(spare, what_came_in_the_midst_of_a_period_stays_for_the_next)
{
    wf_spare s = {0};
    wf_spare_add(&s);
    drop_due(&s, 0);
    wf_spare_add(&s);
    cr_assert_eq(drop_due(&s, P), 1u);
    cr_assert_eq(drop_due(&s, 2 * P), 1u);
}

Test(spare, what_is_needed_again_in_each_period_stays)
{
    wf_spare s = {0};
    int64_t now = 0;
    for (int i = 0; i < 10; i++)
        wf_spare_add(&s);
    for (int period = 0; period < 20; period++, now += P) {
        for (int i = 0; i < 8; i++)
            wf_spare_take(&s);
        for (int i = 0; i < 8; i++)
            wf_spare_add(&s);
        drop_due(&s, now);
    }
    cr_assert_eq(s.count, 8u, "two were never needed");
}

Test(spare, what_is_due_and_needed_after_all_does_not_go)
{
    wf_spare s = {0};
    for (int i = 0; i < 4; i++)
        wf_spare_add(&s);
    drop_due(&s, 0);
    cr_assert(wf_spare_is_due(&s, P));
    for (int i = 0; i < 3; i++)
        wf_spare_take(&s);
    for (int i = 0; i < 3; i++)
        wf_spare_add(&s);
    cr_assert_eq(wf_spare_next(&s), 0, "one is still due");
    cr_assert_eq(drop_due(&s, P), 1u);
    cr_assert_eq(wf_spare_next(&s), 2 * P);
}
