/* atomic.h - atomics whose memory order is in the name.
 *
 * Each atomic is a struct of its own, so that nothing reads or writes one by accident; and all of weft's atomics pass through
 * here, so that tests can put other ones in their place. */
#ifndef WF_ATOMIC_H
#define WF_ATOMIC_H

#include <base/common.h>

typedef struct {
    uint8_t v;
} wf_a8;
typedef struct {
    uint16_t v;
} wf_a16;
typedef struct {
    uint32_t v;
} wf_a32;
/* Machines with 32-bit words may align 64 bits to 4 bytes, and across two cache lines nothing is atomic. */
typedef struct {
    _Alignas(8) uint64_t v;
} wf_a64;
typedef struct {
    _Alignas(8) int64_t v;
} wf_ai64;
typedef struct {
    int v;
} wf_aint;
typedef struct {
    void *v;
} wf_aptr;

#define wf_load_rlx(p) __atomic_load_n(&(p)->v, __ATOMIC_RELAXED)
#define wf_load_acq(p) __atomic_load_n(&(p)->v, __ATOMIC_ACQUIRE)
#define wf_load_seq(p) __atomic_load_n(&(p)->v, __ATOMIC_SEQ_CST)
#define wf_store_rlx(p, x) __atomic_store_n(&(p)->v, (x), __ATOMIC_RELAXED)
#define wf_store_rel(p, x) __atomic_store_n(&(p)->v, (x), __ATOMIC_RELEASE)

#define wf_swap_rlx(p, x) __atomic_exchange_n(&(p)->v, (x), __ATOMIC_RELAXED)
#define wf_swap_acq(p, x) __atomic_exchange_n(&(p)->v, (x), __ATOMIC_ACQUIRE)
#define wf_swap_acqrel(p, x) __atomic_exchange_n(&(p)->v, (x), __ATOMIC_ACQ_REL)
#define wf_swap_seq(p, x) __atomic_exchange_n(&(p)->v, (x), __ATOMIC_SEQ_CST)

/* Weak: may fail for no reason, so use them in loops. On failure *expected holds what was seen. */
#define wf_cas_rlx(p, expected, x) \
    __atomic_compare_exchange_n(&(p)->v, expected, (x), true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)
#define wf_cas_acq(p, expected, x) \
    __atomic_compare_exchange_n(&(p)->v, expected, (x), true, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)
#define wf_cas_rel(p, expected, x) \
    __atomic_compare_exchange_n(&(p)->v, expected, (x), true, __ATOMIC_RELEASE, __ATOMIC_RELAXED)
#define wf_cas_acqrel(p, expected, x) \
    __atomic_compare_exchange_n(&(p)->v, expected, (x), true, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
#define wf_cas_seq(p, expected, x) \
    __atomic_compare_exchange_n(&(p)->v, expected, (x), true, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
#define wf_cas_strong_seq(p, expected, x) \
    __atomic_compare_exchange_n(&(p)->v, expected, (x), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)

#define wf_add_rlx(p, x) __atomic_fetch_add(&(p)->v, (x), __ATOMIC_RELAXED)
#define wf_add_acqrel(p, x) __atomic_fetch_add(&(p)->v, (x), __ATOMIC_ACQ_REL)
#define wf_add_seq(p, x) __atomic_fetch_add(&(p)->v, (x), __ATOMIC_SEQ_CST)
#define wf_sub_rel(p, x) __atomic_fetch_sub(&(p)->v, (x), __ATOMIC_RELEASE)
#define wf_sub_acqrel(p, x) __atomic_fetch_sub(&(p)->v, (x), __ATOMIC_ACQ_REL)
#define wf_sub_seq(p, x) __atomic_fetch_sub(&(p)->v, (x), __ATOMIC_SEQ_CST)
#define wf_or_acqrel(p, x) __atomic_fetch_or(&(p)->v, (x), __ATOMIC_ACQ_REL)
#define wf_and_acqrel(p, x) __atomic_fetch_and(&(p)->v, (x), __ATOMIC_ACQ_REL)

/* What is written down for people who watch: no decision depends on it, so the explorer of interleavings need not try when it is read. */
#if WF_MODEL
#define wf_note(p, x) ((void)((p)->v = (x)))
#define wf_noted(p) ((p)->v)
#else
#define wf_note(p, x) wf_store_rlx(p, x)
#define wf_noted(p) wf_load_rlx(p)
#endif

/* A 64-bit counter with one writer: readers on other threads see a value that was true a moment ago. No read-modify-write, as far as others can see;
 * compilers make three instructions of that. */
#if defined(__x86_64__) && defined(__LP64__) && !WF_TSAN && !WF_MODEL
#define wf_count(p, x) __asm__("addq %1, %0" : "+m"((p)->v) : "er"((uint64_t)(x)) : "cc")
#define wf_count_rel(p, x) __asm__ volatile("addq %1, %0" : "+m"((p)->v) : "er"((uint64_t)(x)) : "cc", "memory")
#else
#define wf_count(p, x) wf_store_rlx(p, wf_load_rlx(p) + (x))
#define wf_count_rel(p, x) wf_store_rel(p, wf_load_rlx(p) + (x))
#endif

static inline void wf_cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

#endif
