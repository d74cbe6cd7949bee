/* program.h - random programs: bytes are read as tasks and their steps, which are run under a model of what may happen.
 *
 * Every string of bytes is a program: four bytes that say how its objects are made, then four for each step. What is too much is left
 * out. No step runs twice, and every program ends: what still waits after a tenth of a second of its clock is aborted. */
#ifndef RANDOM_PROGRAM_H
#define RANDOM_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    RANDOM_HEADER = 4, /* bytes */
    RANDOM_STEP = 4,   /* bytes of a step */
    RANDOM_STEPS = 200,
    RANDOM_TASKS = 40, /* with threads, jobs and futures */
    RANDOM_DEPTH = 8,  /* of blocks in blocks */
    RANDOM_BYTES = RANDOM_HEADER + RANDOM_STEP * RANDOM_STEPS,
    RANDOM_TRACE = 1024,
};

/* What came out of the steps, in their order in time. */
typedef struct random_trace {
    unsigned n; /* it may be more than there are entries */
    struct {
        int16_t task, step;
        int32_t result;
    } entry[RANDOM_TRACE];
} random_trace;

/* Zero is the default of every field. */
typedef struct random_options {
    unsigned workers; /* 0: one */
    bool pure; /* nothing from outside: no sockets, jobs and threads. With one worker its trace is always the same then */
    bool real;             /* the real clock, not the paused one */
    bool verbose;          /* print each step as it ends */
    bool quiet;            /* of what fails print nothing */
    uint64_t seed;         /* of the scheduler's chance; 0: another one. It is printed with what fails */
    random_trace *trace;   /* filled; or NULL */
    const char *forbidden; /* a step that is wrong wherever it is met, such as "SLEEP": to test the tester */
    unsigned patience;     /* seconds for one program, then it hangs; 0: 60 */
} random_options;

/**
 * Run the program.
 * Returns: 0 when it has ended and has done what it may; a negative code: no runtime could be started. What it may not do, hanging
 *          included, is printed with the program, and ends the process by abort(): its tasks may be anywhere.
 * Threads: an ordinary one, one at a time.
 */
int random_program_run(const uint8_t *bytes, size_t n, const random_options *o);

/* As text, a line per step. */
void random_program_print(FILE *out, const uint8_t *bytes, size_t n, const random_options *o);

/* The program of a seed. Returns its size; @bytes: room for RANDOM_BYTES. */
size_t random_program_make(uint8_t *bytes, uint64_t seed);

#endif
