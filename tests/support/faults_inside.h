/* faults_inside.h - what faults.c (the plan) and faults_calls.c (the calls) share. */
#ifndef FAULTS_INSIDE_H
#define FAULTS_INSIDE_H

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <support/faults.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* clang links its sanitizers statically: these functions would take the place of theirs, which then see neither what is written nor what it is ordered by. */
#if defined(__has_feature) /* clang */
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define FAULTS_TAKEN 1
#endif
#endif

/* ---- the system's ----------------------------------------------------------------------------------------------- */

#define FAULTS_POINTER(id, name) __typeof__(name) *name;
typedef struct faults_system {
    FAULTS_EACH(FAULTS_POINTER)
} faults_system;

/* Found before main(), or when a library's constructor calls first: before any thread. */
const faults_system *faults_system_calls(void);

#define SYSTEM(name) (faults_system_calls()->name)

/* ---- the plan ----------------------------------------------------------------------------------------------------- */

/* What a call is about. */
typedef struct faults_subject {
    int fd;                    /* or -1: */
    faults_class class;        /* … what is made, or named */
    const struct sockaddr *to; /* where a connection goes to; or NULL */
} faults_subject;

/* Is this call by @caller (a return address) one of those that are hit? Then *@plan. Any thread, also between fork() and exec(). */
bool faults_hit(faults_call call, faults_subject subject, const void *caller, faults_plan *plan);

/* ---- the set that reports it once more ------------------------------------------------------------------------------ */

void faults_note_added(int set, int fd, const struct epoll_event *event);
void faults_report_again(int fd);

#endif
