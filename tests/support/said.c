/* said.c - see said.h. */
#include "said.h"

#include <stdio.h>
#include <string.h>

void say(void *arg, weft_log_level level, const char *task, const char *text)
{
    log_text *s = arg;
    (void)level, (void)task;
    pthread_mutex_lock(&s->lock);
    size_t room = sizeof s->text - s->length;
    int n = snprintf(s->text + s->length, room, "%s\n", text);
    s->cut |= (size_t)n >= room;
    s->length += (size_t)n < room ? (size_t)n : room - 1;
    pthread_mutex_unlock(&s->lock);
}

unsigned said(log_text *s, const char *what)
{
    unsigned n = 0;
    pthread_mutex_lock(&s->lock);
    for (const char *at = s->text; (at = strstr(at, what)); at += strlen(what))
        n++;
    pthread_mutex_unlock(&s->lock);
    return n;
}
