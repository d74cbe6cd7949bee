/* console.h - what the files of the room console share.
 *
 * The room is a library of its own and uses weft's public API alone. A console has a thread with a runtime of its own. What is marked "its" belongs to the one
 * worker of that runtime: tasks there take turns, so it needs no lock. The runtime that is shown is only read. */
#ifndef WF_CONSOLE_H
#define WF_CONSOLE_H

#include <http_parser.h>
#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <weft.h>
#include <weft/console.h>
#include <weft/diag.h>

enum {
    WF_CONSOLE_TARGET = 1024,    /* bytes of a path with its query */
    WF_CONSOLE_HEAD = 8 * 1024,  /* bytes of a request, all of it */
    WF_CONSOLE_WORD = 192,       /* bytes of a value in a query, or of a name whose bytes were mended */
    WF_CONSOLE_CACHE = 8,        /* answers that are kept for a second */
    WF_CONSOLE_WALKS = 4,        /* walks over all tasks in a second */
    WF_CONSOLE_PAGES = 10,       /* of the most rows: what lies beyond is not paged through, but filtered for */
    WF_CONSOLE_RUNNING = 64,     /* running tasks that go with each list */
    WF_CONSOLE_TEXT = 16 << 20,  /* bytes of an answer */
    WF_CONSOLE_STOP_EVERY = 1024 /* tasks between two looks whether to stop */
};

/* ---- texts ----------------------------------------------------------------------------------------------------- */

/* Bytes that grow. Several answers may have one at the same time. */
typedef struct wf_console_text {
    int refs; /* its */
    bool lacking, cut;
    char *bytes;
    size_t size, room;
    weft_token *stop; /* once it is cancelled nothing more is taken */
} wf_console_text;

wf_console_text *wf_console_text_create(weft_token *stop);
wf_console_text *wf_console_text_ref(wf_console_text *t);
void wf_console_text_unref(wf_console_text *t);
/* False without memory. What goes beyond WF_CONSOLE_TEXT is left out. */
bool wf_console_text_add(wf_console_text *t, const void *bytes, size_t size);
/* What is written there is added to @t. NULL without memory. */
FILE *wf_console_text_file(wf_console_text *t);
/* Close it, and say so at its end if @t was cut. 0, @err if that is one, WEFT_ECANCELED or WEFT_ENOMEM. */
int wf_console_text_close(wf_console_text *t, FILE *file, int err);

/* ---- a console -------------------------------------------------------------------------------------------------- */

typedef struct wf_console_cached {
    char target[WF_CONSOLE_TARGET];
    int64_t made;
    wf_console_text *text; /* NULL: a free place */
} wf_console_cached;

typedef struct wf_console {
    weft_runtime *shown;
    char address[WEFT_ADDR_TEXT];
    unsigned most_clients, most_tasks;
    pthread_t thread;
    weft_token *stop;  /* cancelled by whoever wants it to end */
    weft_token *ready; /* cancelled when it listens, or never will */
    weft_token *over;  /* cancelled by the thread as its last deed */
    /* Written before ready is cancelled. */
    int result; /* 0: it listens */
    unsigned port;
    char detail[256];
    /* Its. */
    unsigned clients;
    bool dumping;
    int64_t dumped;                  /* when the last dump began; 0: none did */
    int64_t walks[WF_CONSOLE_WALKS]; /* when the last ones began, the oldest at next_walk */
    unsigned next_walk;
    wf_console_cached cache[WF_CONSOLE_CACHE];
} wf_console;

/* serve.c: the body of the thread. */
void *wf_console_thread(void *console);
void *wf_console_client(weft_stream *peer, void *console);

/* address.c: 0 if @address is of the internet, and of the loopback unless @any; else WEFT_EINVAL. */
int wf_console_address_check(const char *address, bool any);
/* A Host header that no foreign name can have brought here. */
bool wf_console_host_is_known(const char *host);

/* ---- requests --------------------------------------------------------------------------------------------------- */

typedef struct wf_console_request {
    http_parser parser;
    int wrong; /* a status, as soon as something is */
    bool complete, in_value, is_host;
    size_t head, target_size, host_size, field_size;
    unsigned hosts;
    char target[WF_CONSOLE_TARGET], host[280], field[8]; /* terminated: all zero at first */
} wf_console_request;

/* Returns 1: there is one, or what is wrong with it is known; 0: the client has gone; or a negative code. */
int wf_console_request_read(wf_console_request *r, weft_reader *in);

typedef enum wf_console_sort {
    WF_CONSOLE_BY_SUSPICION,
    WF_CONSOLE_BY_AGE,
    WF_CONSOLE_BY_SINCE,
    WF_CONSOLE_BY_ID,
    WF_CONSOLE_BY_NAME,
    WF_CONSOLE_BY_STATE,
    WF_CONSOLE_BY_WAIT,
} wf_console_sort;

/* What a request asks for. NULL: any. */
typedef struct wf_console_query {
    char path[WF_CONSOLE_TARGET];
    uint64_t id;
    size_t limit, offset;
    wf_console_sort sort;
    const char *state, *name, *wait, *pattern, *kind;
    char words[5][WF_CONSOLE_WORD];
} wf_console_query;

/* 0, or WEFT_EINVAL. */
int wf_console_query_read(wf_console_query *q, const char *target, unsigned most_tasks);

/* ---- answers ---------------------------------------------------------------------------------------------------- */

/* Write the answer to @r. 0: the connection stays. */
int wf_console_answer(wf_console *c, weft_stream *peer, const wf_console_request *r);
/* One of a sentence. */
int wf_console_refuse(weft_stream *peer, int status);

/* What is at a path: 0, WEFT_ENOENT, WEFT_ENOMEM, WEFT_ECANCELED. */
typedef int (*wf_console_make)(wf_console *c, const wf_console_query *q, wf_console_text *out);
int wf_console_metrics(wf_console *c, const wf_console_query *q, wf_console_text *out);
int wf_console_workers(wf_console *c, const wf_console_query *q, wf_console_text *out);
int wf_console_tasks(wf_console *c, const wf_console_query *q, wf_console_text *out);
int wf_console_groups(wf_console *c, const wf_console_query *q, wf_console_text *out);
int wf_console_dump(wf_console *c, const wf_console_query *q, wf_console_text *out);
int wf_console_dump_task(wf_console *c, const wf_console_query *q, wf_console_text *out);

/* page.html, embedded. */
extern const char wf_console_page[];
extern const size_t wf_console_page_size;

/* cache.c. A reference to the answer of less than a second ago; or NULL. */
wf_console_text *wf_console_recall(wf_console *c, const char *target);
void wf_console_remember(wf_console *c, const char *target, wf_console_text *text);
void wf_console_forget_all(wf_console *c);
/* May another one begin? If so it does. */
bool wf_console_may_walk(wf_console *c);
bool wf_console_may_dump(wf_console *c);

/* ---- tasks ------------------------------------------------------------------------------------------------------- */

/* What one would want to look at, the worst last. */
typedef enum wf_console_suspicion {
    WF_CONSOLE_FINE,
    WF_CONSOLE_QUEUES_LONG,
    WF_CONSOLE_LOCKED_LONG,
    WF_CONSOLE_RUNS_LONG,
} wf_console_suspicion;

wf_console_suspicion wf_console_suspect(const weft_task_info *info);
/* A sentence; "" if it is fine. */
const char *wf_console_suspicion_text(wf_console_suspicion s);
const char *wf_console_kind_name(weft_task_kind kind);
/* The name with each number in it as "#": that of a kind of tasks. */
void wf_console_pattern(char out[64], const char *name);
bool wf_console_matches(const wf_console_query *q, const weft_task_info *info);

/* The tasks that run now, noted while all are visited. */
typedef struct wf_console_running {
    weft_task_info list[WF_CONSOLE_RUNNING];
    size_t n;
} wf_console_running;

void wf_console_running_note(wf_console_running *r, const weft_task_info *info);

/* ---- JSON --------------------------------------------------------------------------------------------------------- */

/* jansson refuses what is not UTF-8, and a name may be cut in the middle of a character: what is none becomes U+FFFD. Cut at @size. */
void wf_console_mend(char *out, size_t size, const char *in);
/* Those that run, for the list of workers; NULL without memory. */
json_t *wf_console_running_json(const wf_console_running *r);
/* Write @root, which is given up, to @out. 0, or WEFT_ENOMEM, also for NULL. */
int wf_console_json_write(json_t *root, wf_console_text *out);

#endif
