/* A proxy that ends TLS: clients speak TLS to it, and it speaks to a server behind it in the clear.
 *
 *   terminal 1:   nc -lk 127.0.0.1 7001
 *   terminal 2:   openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost \
 *                     -addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem
 *                 ./13_tls_proxy 127.0.0.1:7000 127.0.0.1:7001 cert.pem key.pem        and Ctrl-C in the end
 *   terminal 3:   openssl s_client -connect 127.0.0.1:7000 -servername localhost -CAfile cert.pem -quiet
 *
 * The stream is upgraded in place: after the handshake it is read, written and copied like any other. The handshake has a deadline of its own,
 * so whoever connects and says nothing is gone after ten seconds; and whoever says nothing later, after IDLE.
 * SIGHUP reads the certificate again: new connections get the new one, the others go on. */
#include <signal.h>
#include <stdio.h>
#include <weft.h>
#include <weft/tls.h>

#define IDLE (60 * WEFT_SEC)

typedef struct proxy {
    const char *address, *upstream;
    weft_tls_options tls;
    weft_tls_context *ctx;
    weft_listener *listener;
} proxy;

/* The streams end as the copying does: the end of one side's input ends the other side's output, with a goodbye where it is TLS. */
static void *forward(weft_stream *client, void *arg)
{
    const proxy *p = arg;
    weft_stream *server;
    int64_t up, down;

    int err = weft_tls_accept(client, p->ctx);
    if (err < 0) {
        fprintf(stderr, "handshake: %s\n", weft_error_detail());
        return NULL; /* weft_serve() closes the client */
    }
    err = weft_tcp_connect(&server, p->upstream, &(weft_tcp_options){.timeout = 5 * WEFT_SEC});
    if (err < 0) {
        fprintf(stderr, "%s: %s\n", p->upstream, weft_strerror(err));
        return NULL;
    }
    weft_stream_set_timeouts(client, IDLE, IDLE);
    weft_stream_set_timeouts(server, IDLE, IDLE);
    err = weft_copy_bidirectional(client, server, &up, &down);
    printf("%s, %lld bytes up, %lld down%s%s\n", weft_tls_version(client), (long long)up, (long long)down,
           err < 0 ? ": " : "", err < 0 ? weft_strerror(err) : "");
    fflush(stdout);
    weft_close(server);
    return NULL;
}

static void *serve(void *arg)
{
    proxy *p = arg;
    weft_serve_options options = {.max_connections = 10000, .drain_timeout = 1 * WEFT_SEC};
    weft_serve(p->listener, forward, p, &options);
    return NULL;
}

/* Reading files blocks, so it is done where that disturbs nobody. */
static void *reload(void *arg)
{
    proxy *p = arg;
    if (weft_tls_context_reload(p->ctx) < 0)
        fprintf(stderr, "the old certificate stays: %s\n", weft_error_detail());
    else
        puts("reloaded");
    fflush(stdout);
    return NULL;
}

static void *reload_on_hangup(void *arg)
{
    weft_signal *hangup;
    if (weft_signal_open(&hangup, SIGHUP) < 0)
        return NULL;
    while (weft_signal_next(hangup) > 0)
        weft_blocking(reload, arg, NULL);
    weft_signal_close(hangup);
    return NULL;
}

static int start(proxy *p)
{
    int err = weft_tls_server(&p->ctx, &p->tls);
    if (err < 0)
        return err;
    err = weft_tcp_listen(&p->listener, p->address, NULL);
    if (err < 0)
        weft_tls_context_free(p->ctx);
    return err;
}

static void *app(void *arg)
{
    proxy *p = arg;
    weft_task *server = NULL, *reloader = NULL;
    weft_addr addr;
    char text[WEFT_ADDR_TEXT];

    int err = start(p);
    if (err < 0) {
        fprintf(stderr, "%s\n", weft_error_detail());
        return weft_fail(err);
    }
    err = weft_spawn(&reloader, reload_on_hangup, p);
    if (err == 0)
        err = weft_spawn(&server, serve, p);
    if (err == 0) {
        weft_listener_addr(p->listener, &addr);
        printf("listening on %s\n", weft_addr_format(&addr, text, sizeof text));
        fflush(stdout);
        err = weft_shutdown_signal();
    }
    weft_task_close(server); /* abort it, and wait until the last connection has ended */
    weft_task_close(reloader);
    weft_listener_close(p->listener);
    weft_tls_context_free(p->ctx);
    if (err < 0)
        return weft_fail(err);
    puts("bye");
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: %s LISTEN UPSTREAM CERTIFICATE KEY\n", argv[0]);
        return 2;
    }
    proxy p = {.address = argv[1], .upstream = argv[2], .tls = {.certificate = argv[3], .key = argv[4]}};
    return weft_run(app, &p, NULL) < 0;
}
