// What the works share: rounds with their one line of output, memory, CPU time. The counterpart of bench/bench.h.
package main

import (
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const roundsMax = 64

// A measurement that went wrong must not print a number.
func check(ok bool, what string) {
	if !ok {
		fail(what)
	}
}

func fail(what string) {
	fmt.Fprintln(os.Stderr, "failed:", what)
	os.Exit(1)
}

// As many as BENCH_ROUNDS says.
func rounds(usual int) int {
	n, err := strconv.Atoi(os.Getenv("BENCH_ROUNDS"))
	if err != nil || n < 1 {
		return usual
	}
	if n > roundsMax {
		return roundsMax
	}
	return n
}

// Print "name  median unit  (min …)". Sorts the values.
func print(name string, values []float64, unit string) {
	sort.Float64s(values)
	median := (values[(len(values)-1)/2] + values[len(values)/2]) / 2
	fmt.Printf("%-28s %12.2f %s  (min %.2f, %d rounds)\n", name, median, unit, values[0], len(values))
}

// The name with "_w1" or "_w2" behind it.
func perWorkers(name string) string { return fmt.Sprintf("%s_w%d", name, workers) }

// Call round once to warm up, then for each value.
func measure(name, unit string, usual int, round func() float64) {
	var values []float64
	round()
	for i := rounds(usual); i > 0; i-- {
		values = append(values, round())
	}
	print(name, values, unit)
}

// Nanoseconds per each of n.
func each(took time.Duration, n int) float64 { return float64(took.Nanoseconds()) / float64(n) }

// The CPU time of the whole process.
func cpuTime() time.Duration {
	var u syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &u) == nil, "getrusage")
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A "VmRSS" or "VmHWM" line of /proc/self/status, in bytes.
func memory(field string) float64 {
	text, err := os.ReadFile("/proc/self/status")
	check(err == nil, "/proc/self/status")
	for _, line := range strings.Split(string(text), "\n") {
		if rest := strings.TrimPrefix(line, field+":"); rest != line {
			kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			check(err == nil, field)
			return kib * 1024
		}
	}
	check(false, field)
	return 0
}
