#!/usr/bin/env bash
# http_ratio.sh - an HTTP server's CPU time per request against bare epoll's: as echo_ratio.sh, with wrk as the load.
#   http_ratio.sh HTTP_WEFT [ROUNDS [SECONDS [CONNECTIONS...]]]
set -u
here=$(cd "$(dirname "$0")" && pwd)
weft=${1:?usage: http_ratio.sh HTTP_WEFT [ROUNDS [SECONDS [CONNECTIONS...]]]}
command -v wrk >/dev/null || { echo "http_ratio.sh needs wrk" >&2; exit 2; }
PEER=${BENCH_DIR:-$(dirname "$weft")}/peer_epoll_http LOAD=$here/wrk_load.sh exec bash "$here/echo_ratio.sh" "$@"
