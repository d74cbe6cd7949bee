/* A library that is built on libuv: hiredis, the client of Redis, on a worker's loop.
 *
 *   ./07_hiredis 6379
 *
 * The loop belongs to one worker, so everything of hiredis is done in one pinned task and in callbacks of that loop. A completion
 * leads back from the callback into the task, so that the commands read like calls. */
#include <hiredis/adapters/libuv.h>
#include <hiredis/async.h>
#include <stdio.h>
#include <weft.h>
#include <weft/uv.h>

typedef struct answer {
    weft_completion done;
    char text[64];
} answer;

static void on_reply(redisAsyncContext *redis, void *r, void *arg)
{
    const redisReply *reply = r;
    answer *a = arg;
    (void)redis;
    if (!reply) /* the connection is gone */
        weft_completion_set(&a->done, WEFT_ECLOSED);
    else if (reply->type == REDIS_REPLY_INTEGER)
        snprintf(a->text, sizeof a->text, "%lld", reply->integer);
    else
        snprintf(a->text, sizeof a->text, "%s", reply->str ? reply->str : "(nil)");
    weft_completion_set(&a->done, 0); /* the first call counts; the answer may be gone now */
}

static int command(redisAsyncContext *redis, const char *text)
{
    answer a = {.done = WEFT_COMPLETION_INIT};
    if (redisAsyncCommand(redis, on_reply, &a, text) != REDIS_OK)
        return WEFT_ECLOSED;
    weft_shield_enter(); /* the callback comes in any case, and writes to this frame */
    int err = weft_completion_wait(&a.done);
    weft_shield_leave();
    if (err == 0)
        printf("%s: %s\n", text, a.text);
    return err;
}

static void on_end(const redisAsyncContext *redis, int status)
{
    (void)status;
    weft_completion_set(redis->data, 0);
}

static void *talk(void *port)
{
    weft_completion ended = WEFT_COMPLETION_INIT;
    redisAsyncContext *redis = redisAsyncConnect("127.0.0.1", *(int *)port);
    if (!redis || redis->err)
        return weft_fail(WEFT_ECONNREFUSED);
    redis->data = &ended;
    redisLibuvAttach(redis, weft_uv_loop());
    redisAsyncSetDisconnectCallback(redis, on_end);
    int err = command(redis, "SET word weft");
    if (err < 0) /* there was no connection: hiredis has freed everything */
        return weft_fail(err);
    command(redis, "GET word");
    for (int i = 0; i < 3; i++)
        command(redis, "INCR count");
    redisAsyncDisconnect(redis);
    weft_completion_wait(&ended);
    return NULL;
}

static void *app(void *port)
{
    weft_spawn_options options = {.pinned = 1};
    weft_task *task;
    int err = weft_spawn_with(&task, &options, talk, port);
    if (err == 0)
        err = weft_join(task, NULL);
    return err < 0 ? weft_fail(err) : NULL;
}

int main(int argc, char **argv)
{
    int port = argc > 1 ? atoi(argv[1]) : 6379;
    return weft_run(app, &port, NULL) < 0;
}
