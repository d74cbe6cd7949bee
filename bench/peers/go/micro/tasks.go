// Goroutines that do nothing.
package main

import "time"

const ones = 300000

// One by one. A channel made once hands over the end; a WaitGroup costs more here.
func spawnJoin(int) {
	done := make(chan struct{})
	measure(perWorkers("spawn_join"), "ns/task", 11, func() float64 {
		start := time.Now()
		for i := 0; i < ones; i++ {
			go func() { done <- struct{}{} }()
			<-done
		}
		return each(time.Since(start), ones)
	})
}
