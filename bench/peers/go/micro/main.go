// peer_go_micro - Go's side of the works of bench/README.md.   peer_go_micro WORK [WORKERS [N]]
//
// Plain Go as its own documentation teaches it: goroutines, channels and WaitGroups, no pools and no unsafe; the garbage collector as it comes. WORKERS
// is GOMAXPROCS. What is idiomatic in a work, and why, stands with it.
package main

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
)

// A work measures itself. n is the third argument, or 0.
type work struct {
	run       func(n int)
	perWorker bool // it depends on WORKERS: without them both 1 and 2 are measured
}

var works = map[string]work{
	"yield":       {yield, true},
	"spawn_join":  {spawnJoin, true},
	"million":     {million, true},
	"skynet":      {skynet, true},
	"cold":        {cold, false},
	"grow_tasks":  {growTasks, true},
	"pingpong":    {pingpong, true},
	"forced":      {forced, false},
	"mpsc":        {mpsc, true},
	"idle":        {idle, false},
	"idle_one":    {idleOne, false},
	"timers":      {timers, false},
	"grow_timers": {growTimers, false},
}

// GOMAXPROCS of this process; names of measurements end in it.
var workers int

func number(index int) int {
	if len(os.Args) <= index {
		return 0
	}
	n, err := strconv.Atoi(os.Args[index])
	check(err == nil && n > 0, "a positive number")
	return n
}

// Run this program with other arguments in a fresh process, so that neither memory nor threads of one run disturb the next.
func again(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Stderr = os.Stderr
	return cmd
}

func both(name string) {
	for _, w := range []string{"1", "2"} {
		cmd := again(name, w)
		cmd.Stdout = os.Stdout
		check(cmd.Run() == nil, "the process of its own")
	}
}

func main() {
	if len(os.Args) < 2 {
		os.Exit(2)
	}
	w, known := works[os.Args[1]]
	if !known {
		os.Exit(2)
	}
	workers = number(2)
	if workers == 0 && w.perWorker {
		both(os.Args[1])
		return
	}
	if workers == 0 {
		workers = 1
	}
	if workers != runtime.GOMAXPROCS(0) {
		runtime.GOMAXPROCS(workers)
	}
	w.run(number(3))
}
