// Goroutines that talk over channels of 8-byte words.
package main

import (
	"runtime"
	"time"
)

const (
	trips       = 300000
	forcedTrips = 20000
	parkedTrips = 2000
	hold        = 100 * time.Microsecond
	senders     = 4
	messages    = 250000 // each
)

// ---- to and fro -------------------------------------------------------------------------------------------------

func returnBall(there <-chan uint64, back chan<- uint64, trips int, hold time.Duration) {
	for i := 0; i < trips; i++ {
		ball := <-there
		spin(hold)
		back <- ball
	}
}

func serveBall(there chan<- uint64, back <-chan uint64, trips int, hold time.Duration) {
	for i := 0; i < trips; i++ {
		there <- uint64(i)
		check(<-back == uint64(i), "the ball")
		spin(hold)
	}
}

// Work for so long.
func spin(hold time.Duration) {
	if hold == 0 {
		return
	}
	for start := time.Now(); time.Since(start) < hold; {
	}
}

// Nanoseconds per round trip between two goroutines that prepare() themselves. The work is taken off.
func rally(trips int, hold time.Duration, prepare func()) float64 {
	there, back, done := make(chan uint64, 1), make(chan uint64, 1), make(chan struct{})
	start := time.Now()
	go func() {
		prepare()
		returnBall(there, back, trips, hold)
		done <- struct{}{}
	}()
	go func() {
		prepare()
		serveBall(there, back, trips, hold)
		done <- struct{}{}
	}()
	<-done
	<-done
	return each(time.Since(start), trips) - float64(2*hold)
}

func pingpong(int) {
	measure(perWorkers("pingpong"), "ns/trip", 11, func() float64 { return rally(trips, 0, func() {}) })
}

// Each locked to a thread of its own, which ends with it.
func forced(int) {
	runtime.GOMAXPROCS(2)
	measure("forced", "ns/trip", 11, func() float64 { return rally(forcedTrips, 0, runtime.LockOSThread) })
	measure("forced_parked", "ns/trip", 11, func() float64 { return rally(parkedTrips, hold, runtime.LockOSThread) })
}

// ---- many to one ------------------------------------------------------------------------------------------------

func sendMany(ch chan<- uint64) {
	for i := uint64(0); i < messages; i++ {
		ch <- i
	}
}

// Million messages per second.
func mpsc(int) {
	measure(perWorkers("mpsc"), "M msg/s", 11, func() float64 {
		ch := make(chan uint64, 1024)
		var sum uint64
		start := time.Now()
		for i := 0; i < senders; i++ {
			go sendMany(ch)
		}
		for i := 0; i < senders*messages; i++ {
			sum += <-ch
		}
		took := time.Since(start)
		check(sum == senders*messages*(messages-1)/2, "the messages")
		return senders * messages * 1000 / float64(took.Nanoseconds())
	})
}
