/* tsan.c - what code that is compiled with -fsanitize=thread calls: every access to memory that somebody else could see.
 *
 * In place of ThreadSanitizer's own library, which is not linked. The interface is what gcc and clang emit (gcc/sanitizer.def). */
#include "inside.h"

#include <string.h>

#define PC __builtin_return_address(0)

void __tsan_init(void);
void __tsan_init(void) {}

void __tsan_func_entry(void *pc);
void __tsan_func_entry(void *pc) { (void)pc; }

void __tsan_func_exit(void);
void __tsan_func_exit(void) {}

/* ---- plain accesses -------------------------------------------------------------------------------------------------- */

#define PLAIN(name, size, write) \
    void __tsan_##name(void *p); \
    void __tsan_##name(void *p) { memory_plain(p, size, write); }

PLAIN(read1, 1, false)
PLAIN(read2, 2, false)
PLAIN(read4, 4, false)
PLAIN(read8, 8, false)
PLAIN(read16, 16, false)
PLAIN(write1, 1, true)
PLAIN(write2, 2, true)
PLAIN(write4, 4, true)
PLAIN(write8, 8, true)
PLAIN(write16, 16, true)
PLAIN(unaligned_read2, 2, false)
PLAIN(unaligned_read4, 4, false)
PLAIN(unaligned_read8, 8, false)
PLAIN(unaligned_read16, 16, false)
PLAIN(unaligned_write2, 2, true)
PLAIN(unaligned_write4, 4, true)
PLAIN(unaligned_write8, 8, true)
PLAIN(unaligned_write16, 16, true)

void __tsan_read_range(void *p, unsigned long size);
void __tsan_read_range(void *p, unsigned long size) { memory_plain(p, size, false); }

void __tsan_write_range(void *p, unsigned long size);
void __tsan_write_range(void *p, unsigned long size) { memory_plain(p, size, true); }

void *model_memcpy(void *to, const void *from, size_t size);
void *model_memcpy(void *to, const void *from, size_t size)
{
    memory_plain(from, size, false);
    memory_plain(to, size, true);
    return memcpy(to, from, size);
}

void *model_memset(void *to, int byte, size_t size);
void *model_memset(void *to, int byte, size_t size)
{
    memory_plain(to, size, true);
    return memset(to, byte, size);
}

/* ---- atomics -------------------------------------------------------------------------------------------------------------- */

#define RMW(bits, type, name, what)                                                \
    type __tsan_atomic##bits##_##name(volatile type *p, type x, int order);        \
    type __tsan_atomic##bits##_##name(volatile type *p, type x, int order)         \
    {                                                                              \
        model_point(#name, (const void *)p, PC);                                   \
        return (type)memory_rmw((void *)p, sizeof x, what, x, (model_order)order); \
    }

#define CAS(bits, type, name, weak)                                                                                      \
    int __tsan_atomic##bits##_compare_exchange_##name(volatile type *p, type *expected, type x, int order, int failure); \
    int __tsan_atomic##bits##_compare_exchange_##name(volatile type *p, type *expected, type x, int order, int failure)  \
    {                                                                                                                    \
        uint64_t seen = *expected;                                                                                       \
        model_point("cas", (const void *)p, PC);                                                                         \
        bool done = memory_cas((void *)p, sizeof x, &seen, x, weak, (model_order)order, (model_order)failure);           \
        *expected = (type)seen;                                                                                          \
        return done;                                                                                                     \
    }

#define ATOMIC(bits, type)                                                        \
    type __tsan_atomic##bits##_load(const volatile type *p, int order);           \
    type __tsan_atomic##bits##_load(const volatile type *p, int order)            \
    {                                                                             \
        model_point("load", (const void *)p, PC);                                 \
        return (type)memory_load((const void *)p, sizeof *p, (model_order)order); \
    }                                                                             \
    void __tsan_atomic##bits##_store(volatile type *p, type x, int order);        \
    void __tsan_atomic##bits##_store(volatile type *p, type x, int order)         \
    {                                                                             \
        model_point("store", (const void *)p, PC);                                \
        memory_store((void *)p, sizeof x, x, (model_order)order);                 \
    }                                                                             \
    RMW(bits, type, exchange, MODEL_SWAP)                                         \
    RMW(bits, type, fetch_add, MODEL_ADD)                                         \
    RMW(bits, type, fetch_sub, MODEL_SUB)                                         \
    RMW(bits, type, fetch_and, MODEL_AND)                                         \
    RMW(bits, type, fetch_or, MODEL_OR)                                           \
    RMW(bits, type, fetch_xor, MODEL_XOR)                                         \
    CAS(bits, type, strong, false)                                                \
    CAS(bits, type, weak, true)

ATOMIC(8, uint8_t)
ATOMIC(16, uint16_t)
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)
