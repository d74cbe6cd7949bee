// Goroutines: that yield, that do nothing, that make a tree, that wait.
package main

import (
	"runtime"
	"sync"
	"time"
)

const (
	yields      = 1000000
	ones        = 300000
	many        = 1000000
	growWaiting = 100000
)

// ---- yield ------------------------------------------------------------------------------------------------------

func yieldMany() {
	for i := 0; i < yields; i++ {
		runtime.Gosched()
	}
}

func yield(int) {
	measure(perWorkers("yield_one"), "ns/yield", 11, func() float64 {
		start := time.Now()
		yieldMany()
		return each(time.Since(start), yields)
	})
	measure(perWorkers("yield_two"), "ns/yield", 11, func() float64 {
		var done sync.WaitGroup
		start := time.Now()
		for i := 0; i < 2; i++ {
			done.Add(1)
			go func() { yieldMany(); done.Done() }()
		}
		done.Wait()
		return each(time.Since(start), 2*yields)
	})
}

// ---- spawn and join ---------------------------------------------------------------------------------------------

// One by one: a channel made once hands over the end; with its one place no child waits. A WaitGroup is slower here.
func spawnJoin(int) {
	done := make(chan struct{}, 1)
	measure(perWorkers("spawn_join"), "ns/task", 11, func() float64 {
		start := time.Now()
		for i := 0; i < ones; i++ {
			go func() { done <- struct{}{} }()
			<-done
		}
		return each(time.Since(start), ones)
	})
}

// All at once: a WaitGroup joins many, and is as quick as a channel with room for all. The peak is the whole process's.
func million(int) {
	measure(perWorkers("million"), "ns/task", 7, func() float64 {
		var done sync.WaitGroup
		start := time.Now()
		done.Add(many)
		for i := 0; i < many; i++ {
			go done.Done()
		}
		done.Wait()
		return each(time.Since(start), many)
	})
	print(perWorkers("million_peak"), []float64{memory("VmHWM") / (1 << 20)}, "MiB")
}

// ---- skynet -----------------------------------------------------------------------------------------------------

const fanOut, leaves, expected = 10, 1000000, 499999500000

// A node sends the sum of its leaves to its parent. The parent's channel has room for all children, so that none waits.
func node(parent chan<- uint64, first, size uint64) {
	if size == 1 {
		parent <- first
		return
	}
	children := make(chan uint64, fanOut)
	for i := uint64(0); i < fanOut; i++ {
		go node(children, first+i*(size/fanOut), size/fanOut)
	}
	var sum uint64
	for i := 0; i < fanOut; i++ {
		sum += <-children
	}
	parent <- sum
}

func skynet(int) {
	root := make(chan uint64, 1)
	measure(perWorkers("skynet"), "ms", 9, func() float64 {
		start := time.Now()
		go node(root, 0, leaves)
		check(<-root == expected, "skynet's sum")
		return float64(time.Since(start).Nanoseconds()) / 1e6
	})
}

// ---- the rest ---------------------------------------------------------------------------------------------------

// The runtime has started when main() begins: what is left is one goroutine.
func cold(int) {
	done := make(chan struct{})
	go close(done)
	<-done
}

// n goroutines wait at a gate, which is a channel that is closed when all are there.
func growTasks(n int) {
	if n == 0 {
		n = growWaiting
	}
	measure(perWorkers("grow_tasks"), "ns/task", 5, func() float64 {
		var waiting, done sync.WaitGroup
		gate := make(chan struct{})
		start := time.Now()
		waiting.Add(n)
		done.Add(n)
		for i := 0; i < n; i++ {
			go func() {
				waiting.Done()
				<-gate
				done.Done()
			}()
		}
		waiting.Wait()
		close(gate)
		done.Wait()
		return each(time.Since(start), n)
	})
}
