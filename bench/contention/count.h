/* count.h - each atomic operation and lock of the library, counted by its place in the source.
 *
 * Comes before everything else in each file of a library of its own (see CMakeLists.txt), in place of base/atomic.h's and lock.h's: the library that is
 * shipped knows nothing of it. A place has a counter for each thread, so that counting shares nothing. */
#ifndef CONTENTION_COUNT_H
#define CONTENTION_COUNT_H

#include <base/lock.h>

enum { COUNT_THREADS = 96 };

/* One place. @failed: a compare-and-swap that was not first, a lock that somebody held. */
struct count_place {
    const char *file, *what, *how;
    int line;
    struct {
        uint64_t done, failed;
    } by[COUNT_THREADS];
};

unsigned count_thread(void);

/* Within a statement expression: the place is `place_`. The section has them all. */
#define COUNT_PLACE(what, how)                                                                  \
    static struct count_place place_ = {__FILE__, what, how, __LINE__, {{0}}};                  \
    static struct count_place *const entry_ __attribute__((section("places"), used)) = &place_; \
    unsigned me_ = count_thread()

#define COUNTED(what, how, operation) \
    ({                                \
        COUNT_PLACE(what, how);       \
        place_.by[me_].done++;        \
        operation;                    \
    })
#define COUNTED_TRY(what, how, operation) \
    ({                                    \
        COUNT_PLACE(what, how);           \
        bool ok_ = operation;             \
        place_.by[me_].done++;            \
        place_.by[me_].failed += !ok_;    \
        ok_;                              \
    })

#undef wf_load_rlx
#undef wf_load_acq
#undef wf_load_seq
#undef wf_store_rlx
#undef wf_store_rel
#undef wf_swap_rlx
#undef wf_swap_acq
#undef wf_swap_acqrel
#undef wf_swap_seq
#undef wf_cas_rlx
#undef wf_cas_acq
#undef wf_cas_rel
#undef wf_cas_acqrel
#undef wf_cas_seq
#undef wf_cas_strong_seq
#undef wf_add_rlx
#undef wf_add_acqrel
#undef wf_add_seq
#undef wf_sub_rel
#undef wf_sub_acqrel
#undef wf_sub_seq
#undef wf_or_acqrel
#undef wf_and_acqrel

#define wf_load_rlx(p) COUNTED(#p, "load", __atomic_load_n(&(p)->v, __ATOMIC_RELAXED))
#define wf_load_acq(p) COUNTED(#p, "load", __atomic_load_n(&(p)->v, __ATOMIC_ACQUIRE))
#define wf_load_seq(p) COUNTED(#p, "load", __atomic_load_n(&(p)->v, __ATOMIC_SEQ_CST))

#define wf_store_rlx(p, x) COUNTED(#p, "store", __atomic_store_n(&(p)->v, (x), __ATOMIC_RELAXED))
#define wf_store_rel(p, x) COUNTED(#p, "store", __atomic_store_n(&(p)->v, (x), __ATOMIC_RELEASE))

#define COUNTED_SWAP(p, x) COUNTED(#p, "rmw", __atomic_exchange_n(&(p)->v, (x), __ATOMIC_SEQ_CST))
#define wf_swap_rlx(p, x) COUNTED_SWAP(p, x)
#define wf_swap_acq(p, x) COUNTED_SWAP(p, x)
#define wf_swap_acqrel(p, x) COUNTED_SWAP(p, x)
#define wf_swap_seq(p, x) COUNTED_SWAP(p, x)

#define COUNTED_CAS(p, e, x) \
    COUNTED_TRY(#p, "rmw", __atomic_compare_exchange_n(&(p)->v, e, (x), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
#define wf_cas_rlx(p, e, x) COUNTED_CAS(p, e, x)
#define wf_cas_acq(p, e, x) COUNTED_CAS(p, e, x)
#define wf_cas_rel(p, e, x) COUNTED_CAS(p, e, x)
#define wf_cas_acqrel(p, e, x) COUNTED_CAS(p, e, x)
#define wf_cas_seq(p, e, x) COUNTED_CAS(p, e, x)
#define wf_cas_strong_seq(p, e, x) COUNTED_CAS(p, e, x)

#define COUNTED_FETCH(p, operation, x) COUNTED(#p, "rmw", operation(&(p)->v, (x), __ATOMIC_SEQ_CST))
#define wf_add_rlx(p, x) COUNTED_FETCH(p, __atomic_fetch_add, x)
#define wf_add_acqrel(p, x) COUNTED_FETCH(p, __atomic_fetch_add, x)
#define wf_add_seq(p, x) COUNTED_FETCH(p, __atomic_fetch_add, x)
#define wf_sub_rel(p, x) COUNTED_FETCH(p, __atomic_fetch_sub, x)
#define wf_sub_acqrel(p, x) COUNTED_FETCH(p, __atomic_fetch_sub, x)
#define wf_sub_seq(p, x) COUNTED_FETCH(p, __atomic_fetch_sub, x)
#define wf_or_acqrel(p, x) COUNTED_FETCH(p, __atomic_fetch_or, x)
#define wf_and_acqrel(p, x) COUNTED_FETCH(p, __atomic_fetch_and, x)

/* The function's own name, in brackets, is the function: it is called only when somebody holds the lock. */
#define wf_spin_lock(l) \
    (COUNTED_TRY(#l, "lock", __atomic_exchange_n(&(l)->held.v, 1, __ATOMIC_ACQUIRE) == 0) ? (void)0 : (wf_spin_lock)(l))
#define wf_spin_try(l) COUNTED_TRY(#l, "lock", __atomic_exchange_n(&(l)->held.v, 1, __ATOMIC_ACQUIRE) == 0)
#define wf_mutex_lock(l) \
    (COUNTED_TRY(#l, "lock", pthread_mutex_trylock(&(l)->m) == 0) ? (void)0 : (void)pthread_mutex_lock(&(l)->m))

#endif
