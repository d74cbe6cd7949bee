// Package server is what Go's servers share: the arguments ADDRESS [WORKERS], a listener, and a goroutine for each connection.
//
// The net package as it comes: SO_REUSEADDR, the system's backlog and TCP_NODELAY are its defaults; only the keepalive probes, which nobody else
// here has, are off. SIGTERM ends a server.
package server

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"runtime"
	"strconv"
	"syscall"
)

// Address gives the first argument, and makes the second one GOMAXPROCS.
func Address() string {
	workers := 1
	if len(os.Args) > 2 {
		var err error
		if workers, err = strconv.Atoi(os.Args[2]); err != nil || workers < 1 {
			log.Fatalf("workers: %q", os.Args[2])
		}
	}
	runtime.GOMAXPROCS(workers)
	if len(os.Args) > 1 {
		return os.Args[1]
	}
	return "127.0.0.1:7000"
}

func raiseNofile() {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		log.Fatal(err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		log.Fatal(err)
	}
}

// Listen on the address of the arguments, and say so.
func Listen() *net.TCPListener {
	address := Address()
	raiseNofile()
	config := net.ListenConfig{KeepAlive: -1}
	listener, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on %s\n", listener.Addr())
	return listener.(*net.TCPListener)
}

// Serve is the whole of a main(): each connection gets a goroutine, and is closed when handle returns.
func Serve(handle func(*net.TCPConn)) {
	listener := Listen()
	for {
		conn, err := listener.AcceptTCP()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer conn.Close()
			handle(conn)
		}()
	}
}
