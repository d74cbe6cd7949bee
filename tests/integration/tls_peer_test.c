/* tls_peer_test.c - TLS against peers that are not weft: OpenSSL itself, by hand and as a program, and what is no TLS at all. */
#include <support/tls_support.h>

Test(tls_peer, nothing_yet) {}
