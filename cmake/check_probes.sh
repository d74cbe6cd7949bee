#!/usr/bin/env bash
# check_probes.sh LIBRARY CC [PROGRAM]: the library has each static probe with its arguments; and gdb, if it can, stops at each spawn of PROGRAM, which are
# three. Exit code 77: it was built without systemtap's header.
set -uo pipefail
library=$1 cc=$2 program=${3:-}
command -v readelf >/dev/null || { echo "skipped: no readelf"; exit 77; }
fail() { echo "FAIL: $*"; exit 1; }

# "name arguments" of each place.
probes=$(readelf -n "$library" | awk '/Provider: / { mine = $2 == "weft" } mine && /Name: / { name = $2 } mine && /Arguments:/ { print name, NF - 1 }' | sort -u)
if [ -z "$probes" ]; then
  echo '#include <sys/sdt.h>' | "$cc" -E - >/dev/null 2>&1 && fail "there is a header, and no probe"
  echo "skipped: no sys/sdt.h (systemtap-sdt-dev)"
  exit 77
fi
expected='end 2
park 1
poll_begin 1
poll_end 2
ready 2
spawn 1
unpark 1
wake 1'
diff <(echo "$expected") <(echo "$probes") || fail "names and numbers of arguments"

[ -n "$program" ] && command -v gdb >/dev/null || exit 0
script=$(mktemp)
trap 'rm -f "$script"' EXIT
cat >"$script" <<'GDB'
set breakpoint pending on
break -probe-stap weft:spawn
commands
silent
printf "spawn #%lu\n", (unsigned long)$_probe_arg0
continue
end
run
GDB
out=$(timeout 60 gdb -q -nx -batch -x "$script" "$program" 2>&1)
grep -qiE 'ptrace|not permitted|could not trace|without debugger' <<<"$out" && { echo "gdb cannot run a program here"; exit 0; }
[ "$(grep -cE '^spawn #[1-9][0-9]*$' <<<"$out")" = 3 ] || { echo "$out"; fail "gdb did not stop at three spawns"; }
[ -z "$(grep -E '^spawn #' <<<"$out" | sort | uniq -d)" ] || { echo "$out"; fail "two tasks have one id"; }
