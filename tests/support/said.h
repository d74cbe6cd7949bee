/* said.h - what a runtime has logged, for tests that wait for it. */
#ifndef SAID_H
#define SAID_H

#include <pthread.h>
#include <weft.h>

typedef struct log_text {
    pthread_mutex_t lock;
    size_t length; /* under lock, and so all below */
    int cut;       /* there was more */
    char text[1 << 16];
} log_text;

#define LOG_TEXT_INIT                     \
    {                                     \
        .lock = PTHREAD_MUTEX_INITIALIZER \
    }

/* A runtime's log, whose argument is a log_text. */
void say(void *log, weft_log_level level, const char *task, const char *text);

/* How often @what was said so far. */
unsigned said(log_text *s, const char *what);

#endif
