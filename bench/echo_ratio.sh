#!/usr/bin/env bash
# echo_ratio.sh - an echo server's CPU time per request against bare epoll's, in short paired rounds.
#   echo_ratio.sh ECHO_WEFT [ROUNDS [SECONDS [CONNECTIONS...]]]     default: 20 rounds of 1 s at 64, 1000 and 10000 connections
#
# ECHO_WEFT is called with "127.0.0.1:0 1" (1 worker); `peer_epoll_echo` and `load` are looked for beside it, or in $BENCH_DIR. Another
# pair of servers: $PEER names the bare one, $LOAD what drives both (see http_ratio.sh).
# Servers run on CPU 0, the load on CPU 1 (0 too where there is only one: then only the CPU ratio means something). Both servers live through all rounds
# of a connection count; which goes first alternates. The load reads the server's CPU clock itself, connecting not counted.
# Absolute figures drift: only the ratios within a round count, and their geometric mean. Ends nothing but what it started.
set -u
weft=${1:?usage: echo_ratio.sh ECHO_WEFT [ROUNDS [SECONDS [CONNECTIONS...]]]}
rounds=${2:-20} seconds=${3:-1}
shift $(($# < 3 ? $# : 3))
[ $# -gt 0 ] || set -- 64 1000 10000
bin=${BENCH_DIR:-$(dirname "$weft")}
peer=${PEER:-$bin/peer_epoll_echo} load=${LOAD:-$bin/load}
size=64 server_cpu=0 load_cpu=1
[ "$(nproc)" -gt 1 ] || load_cpu=0

pids=()
out=$(mktemp -d)
stop_servers() {
  for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null; done
  for pid in "${pids[@]}"; do
    for _ in {1..100}; do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -KILL "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
  done
  pids=()
}
trap 'stop_servers; rm -rf "$out"' EXIT
trap 'exit 130' INT TERM

# start NAME PROGRAM [ARGUMENT]: sets NAME_pid and NAME_address
start() {
  local name=$1 address=
  : >"$out/$name.out" # the one before said something else
  taskset -c "$server_cpu" "$2" 127.0.0.1:0 "${@:3}" >"$out/$name.out" 2>"$out/$name.err" &
  pids+=($!)
  printf -v "${name}_pid" %s $!
  for _ in {1..100}; do
    address=$(sed -n 's/^listening on //p' "$out/$name.out" 2>/dev/null)
    [ -z "$address" ] || break
    sleep 0.05
  done
  [ -n "$address" ] || { echo "$2 does not listen:" >&2; cat "$out/$name.err" >&2; exit 1; }
  printf -v "${name}_address" %s "$address"
}

# measure NAME CONNECTIONS: prints "cpu_ns p99_us rate"; fails as the load does
measure() {
  local pid=$1_pid address=$1_address
  timeout 90 taskset -c "$load_cpu" "$load" "${!address}" "$2" "$seconds" "$size" 1 "${!pid}" >"$out/load" || return
  awk '{ v[$1] = $2 } END { print v["cpu"], v["p99"], v["rate"] }' "$out/load"
  sleep 0.1 # the server may finish closing before the other one is measured
}

failed=0
for connections; do
  start peer "$peer"
  start weft "$weft" 1
  : >"$out/ratios"
  for ((round = 1; round <= rounds; round++)); do
    if ((round % 2)); then
      p=$(measure peer "$connections") && w=$(measure weft "$connections")
    else
      w=$(measure weft "$connections") && p=$(measure peer "$connections")
    fi
    case $? in
    0) ;;
    3) printf '%5d connections, round %2d: starved by something else, not counted\n' "$connections" "$round"; continue ;;
    *) printf '%5d connections, round %2d: the load failed\n' "$connections" "$round"; failed=1; continue ;;
    esac
    echo "$w $p" | awk -v c="$connections" -v r="$round" -v ratios="$out/ratios" '{
      printf "%5d connections, round %2d: cpu %6.0f / %6.0f ns  ratio %.3f   p99 %8.0f / %8.0f us  ratio %.3f   %7.0f / %7.0f requests/s\n",
             c, r, $1, $4, $1 / $4, $2, $5, $2 / $5, $3, $6
      print $1 / $4, $2 / $5 >>ratios }'
  done
  median=$(sort -n "$out/ratios" | awk '{ v[NR] = $1 } END { if (NR) printf "%.3f", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }')
  [ -n "$median" ] || failed=1 # not one round
  awk -v c="$connections" -v median="$median" '{ cpu += log($1); p99 += log($2) }
    END { if (NR) printf "%5d connections, %d rounds: cpu/request %.3f of bare epoll (geometric mean; median %s), p99 %.3f\n",
                         c, NR, exp(cpu / NR), median, exp(p99 / NR) }' "$out/ratios"
  stop_servers
done
exit "$failed"
