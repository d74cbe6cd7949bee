/* errands.c - what a server may want of the system and of other servers: connections of its own, names, files, processes, signals. Whoever runs
 * one is interrupted at any moment. */
#include "server.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>

static char address[WEFT_ADDR_TEXT];

void errands_know(const char *own_address) { snprintf(address, sizeof address, "%s", own_address); }

/* An echo of one's own, half-closed or broken off. */
static int visit(uint64_t *luck)
{
    weft_stream *s;
    char buf[1000] = {0};
    frame f = {.magic = FRAME_MAGIC, .size = sizeof buf, .sum = frame_sum((unsigned char *)buf, sizeof buf)};
    weft_tcp_options options = {.linger = below(luck, 2) ? WEFT_LINGER_RESET : 0};
    int err = weft_tcp_connect(&s, address, &options);
    if (err < 0)
        return err;
    if (weft_write(s, &f, sizeof f) > 0 && weft_write(s, buf, sizeof buf) > 0 && weft_read_exact(s, &f, sizeof f) > 0 &&
        below(luck, 2))
        weft_close_write(s);
    weft_close(s);
    return 0;
}

static int ask_for_a_name(void)
{
    weft_addr addrs[4];
    return weft_resolve(addrs, 4, "localhost", "80");
}

static int keep_a_file(void)
{
    char out[3000], in[sizeof out];
    weft_file *file;
    memset(out, 's', sizeof out);
    int err = weft_file_temporary(&file, NULL, NULL);
    if (err < 0)
        return err;
    if (weft_file_pwrite(file, out, sizeof out, 0) == (ssize_t)sizeof out &&
        weft_file_pread(file, in, sizeof in, 0) == (ssize_t)sizeof in && memcmp(in, out, sizeof in) != 0)
        atomic_fetch_add(&counted.wrong, 1);
    weft_file_close(file);
    return 0;
}

int errand_process(void)
{
    static const char *const argv[] = {"cat", NULL};
    weft_output output;
    weft_process_options options = {.argv = argv, .input = "soak", .input_size = 4};
    int err = weft_process_run(&output, &options);
    if (err < 0)
        return err;
    if (output.status == 0 && (output.out_size != 4 || memcmp(output.out, "soak", 4) != 0))
        atomic_fetch_add(&counted.wrong, 1);
    weft_output_free(&output);
    return 0;
}

static int listen_for_a_signal(void)
{
    weft_signal *signal;
    int err = weft_signal_open(&signal, SIGUSR1);
    if (err < 0)
        return err;
    err = weft_signal_next(signal);
    weft_signal_close(signal);
    return err;
}

void errand(uint64_t *luck)
{
    unsigned which = below(luck, 32);
    if (which == 0)
        (void)errand_process();
    else if (which < 4)
        (void)listen_for_a_signal();
    else if (which < 8)
        (void)ask_for_a_name();
    else if (which < 16)
        (void)keep_a_file();
    else
        (void)visit(luck);
}

/* Whatever comes goes on to the address, and the other way round. */
void *pass_on(weft_stream *peer, void *arg)
{
    weft_stream *s;
    (void)arg;
    if (weft_tcp_connect(&s, address, NULL) < 0)
        return NULL;
    (void)weft_copy_bidirectional(peer, s, NULL, NULL);
    weft_close(s);
    return NULL;
}
