// What a goroutine that sleeps takes.
package main

import (
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"
)

const idleDefault, idleWarmUp = 100000, 200

// Start n more and wait until all are asleep.
func fill(n int) {
	var started sync.WaitGroup
	started.Add(n)
	for i := 0; i < n; i++ {
		go func() {
			started.Done()
			time.Sleep(time.Hour)
		}()
	}
	started.Wait()
	time.Sleep(20 * time.Millisecond) // the last to say so still has to fall asleep
}

// Bytes. What the collector can give back is given back before either look, so that only what the goroutines need is left.
func idleBytes(n int) float64 {
	fill(idleWarmUp)
	debug.FreeOSMemory()
	before := memory("VmRSS")
	fill(n)
	debug.FreeOSMemory()
	return (memory("VmRSS") - before) / float64(n)
}

// A round of idle, in a process of its own, as what one round freed would make the next look free.
func idleOne(n int) { fmt.Println(idleBytes(n)) }

func idle(n int) {
	if n == 0 {
		n = idleDefault
	}
	var values []float64
	for i := rounds(3); i > 0; i-- {
		out, err := again("idle_one", strconv.Itoa(workers), strconv.Itoa(n)).Output()
		check(err == nil, "the process of its own")
		value, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
		check(err == nil, "its value")
		values = append(values, value)
	}
	print("idle_task", values, "bytes")
}
