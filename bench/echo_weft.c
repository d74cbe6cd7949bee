/* echo_weft.c - weft's echo server, to be measured against peer_epoll_echo.   echo_weft 127.0.0.1:7000 workers */
#include "serve_weft.h"

static void *echo(weft_stream *peer, void *arg)
{
    char buf[2048];
    ssize_t n;
    (void)arg;
    while ((n = weft_read(peer, buf, sizeof buf)) > 0)
        if (weft_write(peer, buf, (size_t)n) < 0)
            break;
    return NULL; /* weft_serve closes the stream */
}

int main(int argc, char **argv) { return serve_main(argc, argv, echo); }
