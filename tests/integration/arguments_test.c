/* arguments_test.c - what makes no sense is WEFT_EINVAL, and NULL is nothing to free: wherever no other test says so. */
#include <support/task_support.h>
#include <support/test.h>
#include <weft.h>

#define REFUSED(call) cr_assert_eq(call, WEFT_EINVAL)

/* ---- places for results that are missing ------------------------------------------------------------------------ */

static void *no_place(void *arg)
{
    const char *const argv[] = {"true", NULL};
    const weft_process_options process = {.argv = argv};
    weft_broadcast *broadcast;
    int value = 0;
    (void)arg;
    REFUSED(weft_tcp_listen(NULL, "127.0.0.1:0", NULL));
    REFUSED(weft_tcp_connect(NULL, "127.0.0.1:1", NULL));
    REFUSED(weft_unix_listen(NULL, "@weft-arguments-test", NULL));
    REFUSED(weft_listener_from_fd(NULL, 0));
    REFUSED(weft_stream_from_fd(NULL, 0));
    REFUSED(weft_udp_bind(NULL, "127.0.0.1:0", NULL));
    REFUSED(weft_udp_connect(NULL, "127.0.0.1:1", NULL));
    REFUSED(weft_udp_from_fd(NULL, 0));
    REFUSED(weft_process_spawn(NULL, &process));
    REFUSED(weft_process_run(NULL, &process));
    REFUSED(weft_stdin(NULL));
    REFUSED(weft_stdout(NULL));
    REFUSED(weft_metrics(NULL, NULL));
    REFUSED(weft_aborter_create(NULL, NULL));
    REFUSED(weft_task_pool_create(NULL, 1, 64));
    REFUSED(weft_task_pool_claim(NULL, NULL));
    REFUSED(weft_broadcast_create(NULL, sizeof value, 1));
    REFUSED(weft_watch_create(NULL, sizeof value, &value));
    cr_assert_eq(weft_broadcast_create(&broadcast, sizeof value, 1), 0);
    REFUSED(weft_subscribe(NULL, broadcast));
    cr_assert_eq(weft_broadcast_free(broadcast), 0);
    return NULL;
}

WF_TEST_WORKERS(arguments, without_a_place_for_the_result_nothing_is_made) { run(workers, no_place, NULL); }

/* ---- objects that are missing ----------------------------------------------------------------------------------- */

static void nothing(void *arg) { (void)arg; }

static void refuse_locks(void)
{
    weft_barrier barrier;
    weft_mutex mutex = WEFT_MUTEX_INIT;
    weft_cond cond = WEFT_COND_INIT;
    weft_once once = WEFT_ONCE_INIT;
    REFUSED(weft_notify_wait(NULL));
    REFUSED(weft_cond_wait(NULL, &mutex));
    REFUSED(weft_cond_wait(&cond, NULL));
    REFUSED(weft_semaphore_acquire(NULL, 1));
    REFUSED(weft_semaphore_try_acquire(NULL, 1));
    REFUSED(weft_poll_semaphore_acquire(NULL, NULL, NULL, 1));
    REFUSED(weft_barrier_init(&barrier, 0));
    REFUSED(weft_barrier_wait(NULL));
    REFUSED(weft_once_do(NULL, nothing, NULL));
    REFUSED(weft_once_do(&once, NULL, NULL));
    cr_assert_eq(weft_semaphore_available(NULL), 0u);
    weft_semaphore_release(NULL, 1);
    weft_notify_one(NULL);
    weft_notify_all(NULL);
    weft_cond_signal(NULL);
    weft_cond_broadcast(NULL);
}

static void refuse_channels(void)
{
    weft_watch *watch;
    int value = 0;
    uint64_t version = 0;
    REFUSED(weft_broadcast_send(NULL, &value));
    REFUSED(weft_subscription_recv(NULL, &value, NULL));
    REFUSED(weft_subscription_try_recv(NULL, &value, NULL));
    REFUSED(weft_watch_create(&watch, 0, &value));
    cr_assert_null(watch);
    REFUSED(weft_watch_create(&watch, sizeof value, NULL));
    cr_assert_null(watch);
    REFUSED(weft_watch_set(NULL, &value));
    REFUSED(weft_watch_get(NULL, &value, &version));
    REFUSED(weft_watch_next(NULL, &value, &version));
    weft_broadcast_close(NULL);
    weft_unsubscribe(NULL);
    weft_watch_close(NULL);
    cr_assert_eq(weft_broadcast_free(NULL), 0);
    cr_assert_eq(weft_watch_free(NULL), 0);
}

static void refuse_sockets(void)
{
    weft_stream *s;
    weft_addr addr;
    char byte = 0;
    REFUSED(weft_accept(NULL, NULL));
    REFUSED(weft_accept(&s, NULL));
    REFUSED(weft_poll_accept(NULL, &s, NULL));
    REFUSED(weft_poll_read(NULL, NULL, &byte, 1));
    REFUSED(weft_udp_send(NULL, &byte, 1, NULL));
    REFUSED(weft_udp_recv(NULL, &byte, 1, NULL));
    REFUSED(weft_udp_local(NULL, &addr));
    REFUSED(weft_udp_set_ttl(NULL, 1));
    REFUSED(weft_udp_join(NULL, &addr, NULL));
}

static void refuse_files(void)
{
    weft_file_info info;
    char byte = 0;
    REFUSED(weft_file_read(NULL, &byte, 1));
    REFUSED(weft_file_write(NULL, &byte, 1));
    REFUSED(weft_file_pread(NULL, &byte, 1, 0));
    REFUSED(weft_file_pwrite(NULL, &byte, 1, 0));
    REFUSED(weft_file_stat(NULL, &info));
    REFUSED(weft_file_truncate(NULL, 0));
    REFUSED(weft_file_sync(NULL, 0));
    REFUSED(weft_process_kill(NULL, 1));
    weft_output_free(NULL);
}

static void *no_object(void *arg)
{
    (void)arg;
    refuse_locks();
    refuse_channels();
    refuse_sockets();
    refuse_files();
    cr_assert_eq(weft_task_pool_free(NULL), 0);
    return NULL;
}

WF_TEST_WORKERS(arguments, without_an_object_nothing_is_done) { run(workers, no_object, NULL); }

/* ---- others ----------------------------------------------------------------------------------------------------- */

static void *unprintable(void *arg)
{
    static const wchar_t surrogate[] = {0xd800, 0};
    weft_stream *a, *b;
    weft_writer *w;
    (void)arg;
    cr_assert_eq(weft_stream_pair(&a, &b), 0);
    cr_assert_eq(weft_writer_create(&w, a, 0), 0);
    REFUSED((int)weft_writer_printf(w, "%ls", surrogate));
    REFUSED(weft_writer_flush(w)); /* as any failure */
    weft_writer_free(w);
    weft_close(a);
    weft_close(b);
    return NULL;
}

Test(arguments, what_printf_cannot_print_fails_the_writer) { run(1, unprintable, NULL); }

static void *initialised(void *arg)
{
    weft_notify notify;
    weft_cond cond;
    weft_mutex mutex = WEFT_MUTEX_INIT;
    (void)arg;
    memset(&notify, 0xff, sizeof notify);
    memset(&cond, 0xff, sizeof cond);
    weft_notify_init(&notify);
    weft_cond_init(&cond);
    weft_notify_one(&notify);
    cr_assert_eq(weft_notify_wait(&notify), 0);
    weft_mutex_lock(&mutex);
    WEFT_SCOPE(scope, WEFT_MS);
    cr_assert_eq(weft_cond_wait(&cond, &mutex), WEFT_ETIMEDOUT);
    weft_mutex_unlock(&mutex);
    return NULL;
}

WF_TEST_WORKERS(arguments, what_was_initialised_by_a_call_is_as_by_the_macro) { run(workers, initialised, NULL); }
