/* faults_sweep.h - every kind of fault at every call in turn.
 *
 * A scene is something that a program does, with all of its results looked at. A sweep plays it with each of its faults at the first call of the kind, at
 * the second, and so on until none is hit any more. Each fault has to be hit, and to be told (or not) as its line says. All the while somebody else's
 * conversation goes on, and after each time there are as many descriptors as before. */
#ifndef FAULTS_SWEEP_H
#define FAULTS_SWEEP_H

#include <support/faults.h>
#include <support/net_support.h>
#include <support/test.h>
#include <sys/types.h>

typedef enum faults_effect {
    FAULTS_UNNOTICED, /* the scene comes to 0 */
    FAULTS_TOLD,      /* to the code, wherever it is hit */
    FAULTS_SOMETIMES, /* to either: some of the calls are made for what can be done without. Once at least to the code */
    FAULTS_ANYHOW /* to 0 or any code: nobody may be left to be told; but nothing hangs, and nothing is left behind */
} faults_effect;

typedef struct fault {
    faults_plan plan; /* but for port and nth */
    faults_effect effect;
    int code;
} fault;

#define ALWAYS 1000000

/* In a table of faults. UNNOTICED: @error_ at @times_ calls in a row. SHORT: so many of them do @most_ at most. */
#define UNNOTICED(call_, class_, times_, error_)                                                                      \
    {                                                                                                                 \
        {.call = FAULTS_##call_, .class = FAULTS_##class_, .times = (times_), .error = (error_)}, FAULTS_UNNOTICED, 0 \
    }
#define SHORT(call_, class_, times_, most_)                                                                            \
    {                                                                                                                  \
        {.call = FAULTS_##call_, .class = FAULTS_##class_, .times = (times_), .at_most = (most_)}, FAULTS_UNNOTICED, 0 \
    }
#define TOLD_AS(call_, class_, error_, code_)                                                                 \
    {                                                                                                         \
        {.call = FAULTS_##call_, .class = FAULTS_##class_, .times = 1, .error = (error_)}, FAULTS_TOLD, code_ \
    }
#define TOLD(call_, class_, error_) TOLD_AS(call_, class_, error_, -(error_))
#define SOMETIMES(call_, class_, error_)                                                                               \
    {                                                                                                                  \
        {.call = FAULTS_##call_, .class = FAULTS_##class_, .times = 1, .error = (error_)}, FAULTS_SOMETIMES, -(error_) \
    }

#define ANYHOW(call_, class_, error_)                                                                               \
    {                                                                                                               \
        {.call = FAULTS_##call_, .class = FAULTS_##class_, .times = 1, .error = (error_)}, FAULTS_ANYHOW, -(error_) \
    }

/* Returns 0, and everything was as if there were no faults; or the code that one of the operations returned, and everything is undone. */
typedef ssize_t faults_scene(void *arg);

typedef struct faults_sweep {
    const fault *faults;
    size_t n;
    faults_scene *scene;
    void *arg;
    unsigned port; /* 0: any */
    bool keeps;    /* the runtime keeps descriptors for the next time, so that they are not counted */
} faults_sweep;

#define FAULTS_SWEEP(table, scene_, ...) \
    ((faults_sweep){.faults = (table), .n = sizeof(table) / sizeof *(table), .scene = (scene_), __VA_ARGS__})

/* In a strand, and in nobody else's company. */
void faults_sweep_here(const faults_sweep *sweep);

/* In a runtime of its own, in company. Skips the test where faults cannot be had. */
void faults_sweep_with(unsigned workers, const faults_sweep *sweep);

void faults_need(void);

/* That of two results which tells the fault: the others are told what came of it. If none does, the first that fails; WEFT_ECLOSED, which is what others
 * get when one gives up, says nothing. */
ssize_t faults_first(ssize_t a, ssize_t b);

#endif
