// peer_go_micro - Go's side of the works of bench/README.md.   peer_go_micro WORK [WORKERS [N]]
//
// Plain Go as its own documentation teaches it: goroutines, channels and WaitGroups, no pools and no unsafe; the garbage collector as it comes. WORKERS
// is GOMAXPROCS, 1 where it does not matter. What each work is, and why that is how Go does it:
//
//	yield        runtime.Gosched(), there is no other
//	spawn_join   a channel of one place, made once, hands over each end: quicker than a WaitGroup for one
//	million      a WaitGroup, which joins many, and keeps nothing for each
//	skynet       children send their sums over their parent's channel, which has room for all of them, so that none waits
//	grow_tasks   all wait to receive from one channel, which is closed: Go's way to wake everybody
//	pingpong     two channels of one place
//	forced       the same, each goroutine locked to its thread
//	mpsc         a channel of 1,024: Go's channels are for many senders as they are
//	idle         time.Sleep() in a goroutine; what the collector can give back is given back before memory is read
//	timers       time.AfterFunc() and Stop(): cheaper than a goroutine that sleeps, or than a timer with a channel
//	grow_timers  the same
//	cold         one goroutine; the runtime has started before main()
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
