#!/usr/bin/env bash
# wrk_load.sh - wrk in the manner of `load`: prints the server's CPU time per request (ns), p99 (us), and requests per second.
#   wrk_load.sh ADDRESS CONNECTIONS SECONDS - - SERVER_PID
set -u
address=$1 connections=$2 seconds=$3 pid=$6
cpu() { cat /proc/"$pid"/task/*/schedstat | awk '{ ns += $1 } END { printf "%.0f", ns }'; }
before=$(cpu)
said=$(wrk -t 1 -c "$connections" -d "${seconds}s" --latency "http://$address/hello") || exit 1
after=$(cpu)
awk -v ns="$((after - before))" '
  $1 == "99%" { v = $2 + 0; if ($2 ~ /ms$/) v *= 1000; else if ($2 !~ /us$/) v *= 1000000; p99 = v }
  $2 == "requests" && $3 == "in" { requests = $1 }
  $1 == "Requests/sec:" { rate = $2 }
  /Socket errors|Non-2xx/ { bad = 1 }
  END { if (bad || !requests) exit 1
        printf "cpu %.0f\np99 %.0f\nrate %.0f\n", ns / requests, p99, rate }' <<<"$said"
