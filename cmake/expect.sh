#!/usr/bin/env bash
# expect.sh PROGRAM FILE: run PROGRAM and compare its standard output with FILE. Exit code 77 of PROGRAM is passed on.
set -uo pipefail
out=$(mktemp)
trap 'rm -f "$out"' EXIT
"$1" >"$out"
code=$?
[ "$code" = 77 ] && exit 77
diff -u "$2" "$out" || exit 1
[ "$code" = 0 ] || { echo "exit code $code"; exit 1; }
