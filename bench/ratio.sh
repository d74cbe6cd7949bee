#!/usr/bin/env bash
# ratio.sh - any number of servers under the same load, in short rounds, each measured against the first one of its round.
#   ratio.sh LOAD-KIND ROUNDS SECONDS CONNECTIONS NAME=PROGRAM...
#   ratio.sh echo 20 1 1000 epoll=build/release/bench/peer_epoll_echo weft=build/release/bench/echo_weft
#
# LOAD-KIND  load                      CONNECTIONS are         fields
# echo       load                      connections             cpu (per request) rate p50 p99 p999 max least requests errors
# http       wrk, by wrk_load.sh       connections             cpu (per request) rate p50 p99
# http_load  load                      connections             as echo
# bulk       load_bulk                 connections             cpu (per KiB) rate
# accept     load_accept               under way at a time     cpu (per connection) rate p50 p99 max
# udp        load_udp                  the window              cpu (per packet) rate lost
# idle       load_idle                 connections that sleep  bytes left (each; SECONDS means nothing; a fresh server each round)
#
# Every PROGRAM is called with "127.0.0.1:0 WORKERS" and lives through all rounds; which goes first rotates. Absolute figures drift: what counts are
# ratios within a round, and their geometric mean.
#
# Environment: WORKERS (1), for the servers; LOAD_THREADS (as WORKERS), of load and wrk; SIZE (64), bytes of an echo; BENCH_DIR, where the loads are
# (beside the first PROGRAM). Servers have the CPUs 0 … WORKERS - 1. The load has the next ones if there are as many again, else the same.
#
# Standard output has, separated by single blanks, as it goes
#   round METRIC ROUND NAME VALUE UNIT         each value; METRIC is KIND_FIELD_cCONNECTIONS; cpu is cpu_ns here; with WORKERS other than 1, "_wWORKERS" follows
#   starved NAME ROUND                         a machine too busy to tell: not counted
#   missing NAME REASON…                       not there, does not know so many workers, failed: not measured any more
# and in the end, for each field and each NAME,
#   METRIC NAME VALUE UNIT LEAST MOST ROUNDS   the median
#   METRIC NAME VALUE x LEAST MOST ROUNDS      the geometric mean of the ratios to the first: KIND_cpu_cN, and KIND_FIELD_ratio_cN for every other field
# Exits with 0; with 1 when one was missing, though the rest has been measured; with 2 for wrong arguments or without the load's program.
# Ends nothing but what it started.
set -u
export LC_ALL=C
usage='usage: ratio.sh echo|http|http_load|bulk|accept|udp|idle ROUNDS SECONDS CONNECTIONS NAME=PROGRAM...'
[ $# -ge 5 ] || { echo "$usage" >&2; exit 2; }
kind=$1 rounds=$2 seconds=$3 connections=$4
shift 4
here=$(cd "$(dirname "$0")" && pwd)
workers=${WORKERS:-1}
threads=${LOAD_THREADS:-$workers}
size=${SIZE:-64}
bin=${BENCH_DIR:-$(dirname "${1#*=}")}
suffix=_c$connections
[ "$workers" = 1 ] || suffix+=_w$workers

limit=$(awk -v s="$seconds" 'BEGIN { print 60 + 3 * s }') # of one load, in seconds: connecting takes its time
names=() programs=() pids=() addresses=() # by the number of the server; no pid: it does not run
for server; do
  names+=("${server%%=*}") programs+=("${server#*=}") pids+=('') addresses+=('')
done

cpus=$(nproc) server_cpus=0-$((workers - 1)) load_cpus=$workers-$((2 * workers - 1))
((cpus >= workers)) || server_cpus=0-$((cpus - 1))
((cpus >= 2 * workers)) || load_cpus=$server_cpus

# ---- servers ---------------------------------------------------------------------------------------------------------

out=$(mktemp -d)
# stop NUMBER
stop() {
  local pid=${pids[$1]}
  [ -n "$pid" ] || return 0
  pids[$1]=''
  is_ours "$pid" && kill -TERM "$pid"
  for _ in {1..100}; do is_ours "$pid" || break; sleep 0.05; done
  is_ours "$pid" && kill -KILL "$pid"
  wait "$pid" 2>/dev/null
}
# A number is used again once its process is gone.
is_ours() { jobs -rp | grep -qx "$1"; }
stop_all() { for i in "${!pids[@]}"; do stop "$i"; done; }
load_pid='' failed=0
end() {
  [ -z "$load_pid" ] || kill -TERM "$load_pid" 2>/dev/null
  stop_all
  rm -rf "$out"
}
trap end EXIT
trap 'exit 130' INT TERM

# missing NUMBER REASON…: never mind this server
missing() {
  echo "missing ${names[$1]} ${*:2}"
  failed=1
  stop "$1"
  unset "programs[$1]"
}

# start NUMBER
start() {
  local i=$1 program=${programs[$1]} pid address='' code
  [ -x "$program" ] || { missing "$i" 'no program'; return 1; }
  : >"$out/said" # the one before said something else
  taskset -c "$server_cpus" "$program" 127.0.0.1:0 "$workers" >"$out/said" 2>"$out/errors" &
  pid=$!
  pids[$i]=$pid
  for _ in {1..200}; do
    address=$(sed -n 's/^listening on //p' "$out/said")
    [ -z "$address" ] && kill -0 "$pid" 2>/dev/null || break
    sleep 0.02
  done
  addresses[$i]=$address
  [ -z "$address" ] || return 0
  kill -0 "$pid" 2>/dev/null && { missing "$i" 'does not listen'; return 1; }
  wait "$pid"
  code=$?
  pids[$i]=''
  cat "$out/errors" >&2
  if [ "$code" = 2 ]; then missing "$i" "not with $workers workers"; else missing "$i" "ended with $code"; fi
  return 1
}

# ---- rounds ----------------------------------------------------------------------------------------------------------

# The load's lines: FIELD VALUE UNIT. To be run in the background: it becomes the load.
load() {
  local address=${addresses[$1]} pid=${pids[$1]}
  case $kind in
    echo) set -- "$bin/load" "$address" "$connections" "$seconds" "$size" "$threads" "$pid" ;;
    http) set -- "$here/wrk_load.sh" "$address" "$connections" "$seconds" - "$threads" "$pid" ;;
    http_load) set -- "$bin/load" "$address" "$connections" "$seconds" http "$threads" "$pid" ;;
    bulk) set -- "$bin/load_bulk" "$address" "$connections" "$seconds" "$pid" ;;
    accept) set -- "$bin/load_accept" "$address" "$seconds" "$pid" "$connections" ;;
    udp) set -- "$bin/load_udp" "$address" "$seconds" "$connections" "$pid" ;;
    idle) set -- "$bin/load_idle" "$address" "$connections" "$pid" ;;
  esac
  exec timeout "$limit" taskset -c "$load_cpus" "$@"
}

# measure NUMBER ROUND
measure() {
  local i=$1 round=$2 code
  [ -n "${pids[$i]}" ] || start "$i" || return
  load "$i" >"$out/load" 2>"$out/errors" &
  load_pid=$! # waited for so, a signal ends us at once
  wait "$load_pid"
  code=$?
  load_pid=''
  if [ "$code" = 3 ]; then
    echo "starved ${names[$i]} $round"
  elif [ "$code" != 0 ]; then
    cat "$out/errors" >&2
    missing "$i" "the load ended with $code in round $round"
    return
  else
    awk -v k="$kind" -v s="$suffix" -v r="$round" -v n="${names[$i]}" '
      { print "round", k "_" ($1 == "cpu" ? "cpu_ns" : $1) s, r, n, $2, $3 == "" ? "-" : $3 }' "$out/load" | tee -a "$out/values"
  fi
  if [ "$kind" = idle ]; then stop "$i"; else sleep 0.1; fi # it may finish closing before the next one is measured
}

# ---- what came out ---------------------------------------------------------------------------------------------------

# METRIC NAME VALUE UNIT for each value, then for its ratio to the first server's.
with_ratios() {
  awk -v first="${names[0]}" -v s="$suffix" '
    function ratio_of(metric) {
      metric = substr(metric, 1, length(metric) - length(s))
      return (metric ~ /_cpu_ns$/ ? substr(metric, 1, length(metric) - 3) : metric "_ratio") s
    }
    $4 == first { reference[$2, $3] = $5 }
    { line[NR] = $0 }
    END {
      for (i = 1; i <= NR; i++) {
        split(line[i], v, " ")
        print v[2], v[4], v[5], v[6]
        if (reference[v[2], v[3]] > 0 && v[5] > 0) print ratio_of(v[2]), v[4], v[5] / reference[v[2], v[3]], "x"
      }
    }' "$out/values"
}

summary() {
  sort -k1,2 -k3,3g | awk '
    function flush_group(i, sum, middle) {
      if (!n) return
      for (i = 1; i <= n; i++) sum += unit == "x" ? log(v[i]) : 0
      middle = unit == "x" ? exp(sum / n) : (v[int((n + 1) / 2)] + v[int(n / 2) + 1]) / 2
      printf "%s %.6g %s %.6g %.6g %d\n", group, middle, unit, v[1], v[n], n
      n = 0
    }
    $1 " " $2 != group { flush_group(); group = $1 " " $2; unit = $4 }
    { v[++n] = $3 }
    END { flush_group() }'
}

case $kind in
  echo | http_load) needs=$bin/load ;;
  http) needs=$(command -v wrk || echo wrk) ;;
  bulk | accept | udp | idle) needs=$bin/load_$kind ;;
  *) echo "$usage" >&2; exit 2 ;;
esac
[ -x "$needs" ] || { echo "ratio.sh: $needs is not there" >&2; exit 2; }

: >"$out/values"
for ((round = 1; round <= rounds; round++)); do
  for ((turn = 0; turn < ${#names[@]}; turn++)); do
    i=$(((round - 1 + turn) % ${#names[@]}))
    [ -z "${programs[$i]-}" ] || measure "$i" "$round"
  done
done
with_ratios | summary
exit "$failed"
