/* list_test.c - the intrusive list: order, and nodes that know whether they are in one. */
#include <base/list.h>
#include <support/test.h>

typedef struct item {
    int n;
    wf_node node;
} item;

static void fill(wf_list *l, item *items, int count)
{
    wf_list_init(l);
    for (int i = 0; i < count; i++) {
        items[i].n = i;
        wf_node_init(&items[i].node);
        wf_list_push_back(l, &items[i].node);
    }
}

static int pop(wf_list *l)
{
    wf_node *n = wf_list_pop_front(l);
    return n ? wf_container(n, item, node)->n : -1;
}

Test(list, a_new_list_is_empty_and_pops_nothing)
{
    wf_list l;
    wf_list_init(&l);
    cr_assert(wf_list_empty(&l));
    cr_assert_null(wf_list_pop_front(&l));
    cr_assert(wf_list_empty(&l));
}

Test(list, pushed_in_order_pops_in_order)
{
    wf_list l;
    item items[3];
    fill(&l, items, 3);
    cr_assert(!wf_list_empty(&l));
    cr_assert_eq(pop(&l), 0);
    cr_assert_eq(pop(&l), 1);
    cr_assert_eq(pop(&l), 2);
    cr_assert_eq(pop(&l), -1);
    cr_assert(wf_list_empty(&l));
}

Test(list, a_node_is_linked_from_push_to_pop)
{
    wf_list l;
    item items[2];
    fill(&l, items, 2);
    cr_assert(wf_node_linked(&items[0].node));
    cr_assert(wf_node_linked(&items[1].node));
    pop(&l);
    cr_assert(!wf_node_linked(&items[0].node));
    cr_assert(wf_node_linked(&items[1].node), "the last of a list is linked too");
}

Test(list, unlinking_first_middle_and_last_keeps_the_rest_in_order)
{
    wf_list l;
    item items[5];
    fill(&l, items, 5);
    wf_node_unlink(&items[0].node);
    wf_node_unlink(&items[2].node);
    wf_node_unlink(&items[4].node);
    cr_assert_eq(pop(&l), 1);
    cr_assert_eq(pop(&l), 3);
    cr_assert(wf_list_empty(&l));
}

Test(list, unlinking_twice_is_harmless)
{
    wf_list l;
    item items[2];
    fill(&l, items, 2);
    wf_node_unlink(&items[0].node);
    wf_node_unlink(&items[0].node);
    cr_assert_eq(pop(&l), 1);
    cr_assert(wf_list_empty(&l));
}

Test(list, a_popped_node_pushed_again_goes_to_the_end)
{
    wf_list l;
    item items[2];
    fill(&l, items, 2);
    wf_list_push_back(&l, wf_list_pop_front(&l));
    cr_assert_eq(pop(&l), 1);
    cr_assert_eq(pop(&l), 0);
    cr_assert_eq(pop(&l), -1);
}
