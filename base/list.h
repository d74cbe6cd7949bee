/* list.h - a circular, doubly linked, intrusive list. A node that is in no list points to itself. */
#ifndef WF_LIST_H
#define WF_LIST_H

#include <base/common.h>

typedef struct wf_node {
    struct wf_node *next, *prev;
} wf_node;

typedef struct wf_list {
    wf_node head;
} wf_list;

static inline void wf_node_init(wf_node *n) { n->next = n->prev = n; }
static inline bool wf_node_linked(const wf_node *n) { return n->next != n; }
static inline void wf_list_init(wf_list *l) { wf_node_init(&l->head); }
static inline bool wf_list_empty(const wf_list *l) { return l->head.next == &l->head; }

static inline void wf_list_push_back(wf_list *l, wf_node *n)
{
    n->prev = l->head.prev;
    n->next = &l->head;
    n->prev->next = n;
    l->head.prev = n;
}

static inline void wf_node_unlink(wf_node *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    wf_node_init(n);
}

static inline wf_node *wf_list_pop_front(wf_list *l)
{
    if (wf_list_empty(l))
        return NULL;
    wf_node *n = l->head.next;
    wf_node_unlink(n);
    return n;
}

#endif
