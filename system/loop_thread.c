/* loop_thread.c - see loop_thread.h. */
#include <pthread.h>
#include <runtime/runtime.h>
#include <signal.h>
#include <stdlib.h>
#include <system/loop_thread.h>

typedef struct loop_thread {
    wf_service service;
    pthread_t thread;
    uv_loop_t loop;
    uv_async_t bell;
    wf_mailbox calls;
    wf_a32 stop;
} loop_thread;

static void on_bell(uv_async_t *bell)
{
    loop_thread *t = bell->data;
    for (wf_letter *l = wf_mailbox_take(&t->calls), *next; l; l = next) {
        next = l->next;
        wf_loop_call *call = wf_container(l, wf_loop_call, letter);
        call->run(call, &t->loop);
    }
    if (wf_load_acq(&t->stop))
        uv_stop(&t->loop);
}

static void close_handle(uv_handle_t *handle, void *bell)
{
    if (handle == bell)
        uv_close(handle, NULL);
    else if (!uv_is_closing(handle))
        ((wf_loop_resident *)handle->data)->evict(handle->data);
}

/* libuv learns of the end of processes by this signal, and every other thread may have it blocked: workers do. */
static void unblock_sigchld(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void *run(void *arg)
{
    loop_thread *t = arg;
    pthread_setname_np(pthread_self(), "weft/system");
    unblock_sigchld();
    uv_run(&t->loop, UV_RUN_DEFAULT);
    on_bell(&t->bell); /* what was posted last */
    uv_walk(&t->loop, close_handle, &t->bell);
    while (uv_run(&t->loop, UV_RUN_DEFAULT) != 0) /* the first may only see that it is told to stop */
        ;
    return NULL;
}

static void stop(wf_service *service)
{
    loop_thread *t = wf_container(service, loop_thread, service);
    wf_store_rel(&t->stop, 1);
    uv_async_send(&t->bell);
    pthread_join(t->thread, NULL);
    uv_loop_close(&t->loop);
    free(t);
}

static int start_thread(loop_thread *t)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = -pthread_create(&t->thread, NULL, run, t);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err;
}

static wf_service *make(weft_runtime *rt, int *err)
{
    (void)rt;
    loop_thread *t = calloc(1, sizeof *t);
    if (!t) {
        *err = WEFT_ENOMEM;
        return NULL;
    }
    if ((*err = uv_loop_init(&t->loop)) < 0)
        goto free_thread;
    if ((*err = uv_async_init(&t->loop, &t->bell, on_bell)) < 0)
        goto close_loop;
    t->bell.data = t;
    if ((*err = start_thread(t)) < 0)
        goto close_bell;
    return &t->service;

close_bell:
    uv_close((uv_handle_t *)&t->bell, NULL);
    uv_run(&t->loop, UV_RUN_DEFAULT);
close_loop:
    uv_loop_close(&t->loop);
free_thread:
    free(t);
    return NULL;
}

int wf_loop_thread_post(weft_runtime *rt, wf_loop_call *call)
{
    int err = 0;
    wf_service *service = wf_runtime_service(rt, make, stop, &err);
    if (!service)
        return err;
    loop_thread *t = wf_container(service, loop_thread, service);
    wf_mailbox_post(&t->calls, &call->letter);
    uv_async_send(&t->bell);
    return 0;
}
