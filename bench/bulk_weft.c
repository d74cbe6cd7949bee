/* bulk_weft.c - weft's server that reads and discards, to be measured against peer_epoll_bulk.   bulk_weft 127.0.0.1:7000 workers */
#include "serve_weft.h"

enum { BUFFER = 65536 };

static void *discard(weft_stream *peer, void *arg)
{
    char *buf = malloc(BUFFER);
    (void)arg;
    while (buf && weft_read(peer, buf, BUFFER) > 0) {
    }
    free(buf);
    return NULL; /* weft_serve closes the stream */
}

int main(int argc, char **argv) { return serve_main(argc, argv, discard); }
