/* inside.h - what the files of the model know of each other. */
#ifndef MODEL_INSIDE_H
#define MODEL_INSIDE_H

#include "model.h"

/* ---- engine.c: who runs --------------------------------------------------------------------------------------------- */

/* Before each operation that others could see or be seen by: perhaps somebody else goes on first. */
void model_point(const char *what, const void *address, const void *pc);

/* Wait until model_wake(@on). @timed: or until nothing else can go on; then false. */
bool model_block(const void *on, bool timed);
/* One of those that wait for it, or all. */
void model_wake(const void *on, bool all);

/* Something that others can see was done: those that yielded may look again. */
void model_progress(void);

/* An alternative that costs one stale load: 0 is what it would be on a simple machine. */
unsigned model_choose_stale(unsigned n);

/* What the last operation came to, for the report. */
void model_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

bool model_is_freed(const void *p);
bool model_is_local(const void *p); /* registered as each thread's own */

/* ---- memory.c: what is seen ------------------------------------------------------------------------------------------ */

typedef enum { MODEL_RELAXED, MODEL_CONSUME, MODEL_ACQUIRE, MODEL_RELEASE, MODEL_ACQ_REL, MODEL_SEQ_CST } model_order;
typedef enum { MODEL_SWAP, MODEL_ADD, MODEL_SUB, MODEL_AND, MODEL_OR, MODEL_XOR } model_rmw;

void memory_begin(unsigned threads); /* an execution; thread 0 runs */
void memory_fork(unsigned thread);   /* @thread knows what the running one knows … */
void memory_forked(void);            /* … so far */
void memory_join(unsigned thread);   /* the running one knows what @thread knows */
void memory_see_all(void);           /* the running one has waited: it sees what there is */
bool memory_was_stale(void);         /* … has it seen something old since it last waited? */

uint64_t memory_load(const void *p, size_t size, model_order order);
void memory_store(void *p, size_t size, uint64_t value, model_order order);
uint64_t memory_rmw(void *p, size_t size, model_rmw what, uint64_t operand, model_order order);
bool memory_cas(void *p, size_t size, uint64_t *expected, uint64_t value, bool weak, model_order success, model_order failure);

void memory_plain(const void *p, size_t size, bool write);
void memory_free(const void *p, size_t size); /* nobody may be about to touch it */

/* Orders by something that is no atomic, a lock's: leave what the running thread knows, and take it. */
void memory_release_at(const void *key);
void memory_acquire_at(const void *key);

#endif
