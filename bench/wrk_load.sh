#!/usr/bin/env bash
# wrk_load.sh - wrk in the manner of `load`: prints the server's CPU time per request, latencies, and requests per second.
#   wrk_load.sh ADDRESS CONNECTIONS SECONDS - THREADS SERVER_PID
set -u
address=$1 connections=$2 threads=$5 pid=$6
seconds=$(awk -v s="$3" 'BEGIN { print (s > int(s)) + int(s) }') # wrk wants whole ones
[ "$threads" -gt 0 ] 2>/dev/null || threads=1
cpu() { cat /proc/"$pid"/task/*/schedstat | awk '{ ns += $1 } END { printf "%.0f", ns }'; }
before=$(cpu)
said=$(wrk -t "$threads" -c "$connections" -d "${seconds}s" --latency "http://$address/hello") || exit 1
after=$(cpu)
awk -v ns="$((after - before))" '
  function us(text, v) { v = text + 0; return text ~ /us$/ ? v : text ~ /ms$/ ? v * 1000 : v * 1000000 }
  $1 == "50%" { p50 = us($2) }
  $1 == "99%" { p99 = us($2) }
  $2 == "requests" && $3 == "in" { requests = $1 }
  $1 == "Requests/sec:" { rate = $2 }
  /Socket errors|Non-2xx/ { bad = 1 }
  END { if (bad || !requests) exit 1
        printf "cpu %.0f ns/request\np50 %.0f us\np99 %.0f us\nrate %.0f /s\n", ns / requests, p50, p99, rate }' <<<"$said"
