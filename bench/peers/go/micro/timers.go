// Timers: time.AfterFunc(), whose function runs in a goroutine of its own, and Stop().
package main

import (
	"math/rand"
	"runtime"
	"sync"
	"time"
)

const (
	timerCount   = 1000000
	timerKept    = timerCount / 10
	lead         = 2000 * time.Millisecond
	spread       = 2000 * time.Millisecond
	growStanding = 100000
	growTurns    = 100000
)

// Whole milliseconds from the lead on.
func randomDelays(n int) []time.Duration {
	delays := make([]time.Duration, n)
	for i := range delays {
		delays[i] = lead + time.Duration(rand.Int63n(int64(spread/time.Millisecond)))*time.Millisecond
	}
	return delays
}

// What is started, when, and in which order it is stopped; the first of the order stay.
type plan struct {
	delays []time.Duration
	order  []int
	timers []*time.Timer
}

// Nanoseconds for each: to start, to stop, to fire (CPU time).
func (p *plan) round() (start, cancel, fire float64) {
	var fired sync.WaitGroup
	fired.Add(timerKept)
	end := fired.Done
	began := time.Now()
	for i := range p.timers {
		p.timers[i] = time.AfterFunc(p.delays[i], end)
	}
	started := time.Now()
	for _, i := range p.order[timerKept:] {
		check(p.timers[i].Stop(), "a timer fired before its time")
	}
	cancelled, cpu := time.Now(), cpuTime()
	fired.Wait()
	cpu = cpuTime() - cpu
	return each(started.Sub(began), timerCount), each(cancelled.Sub(started), timerCount-timerKept), each(cpu, timerKept)
}

// A million start, 90 % are stopped in random order, the rest fire. What an earlier round left behind is collected before the next, not in it.
func timers(int) {
	var starts, cancels, fires []float64
	p := plan{randomDelays(timerCount), rand.Perm(timerCount), make([]*time.Timer, timerCount)}
	p.round()
	for i := rounds(5); i > 0; i-- {
		runtime.GC()
		start, cancel, fire := p.round()
		starts, cancels, fires = append(starts, start), append(cancels, cancel), append(fires, fire)
	}
	print("timers_start", starts, "ns/timer")
	print("timers_cancel", cancels, "ns/timer")
	print("timers_fire", fires, "ns/timer")
}

// One timer starts and stops, while n others stand.
func growTimers(n int) {
	if n == 0 {
		n = growStanding
	}
	standing, delays := make([]*time.Timer, n), randomDelays(growTurns)
	for i, delay := range randomDelays(n) {
		standing[i] = time.AfterFunc(time.Hour+delay, func() { check(false, "an hour went by") })
	}
	measure("grow_timers", "ns/timer", 11, func() float64 {
		start := time.Now()
		for _, delay := range delays {
			check(time.AfterFunc(time.Hour+delay, func() {}).Stop(), "a timer fired before its time")
		}
		return each(time.Since(start), growTurns)
	})
}
