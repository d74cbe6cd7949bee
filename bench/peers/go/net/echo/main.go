// Go's echo server.   peer_go_echo 127.0.0.1:7000 workers
package main

import (
	"net"

	"peers/net/server"
)

func echo(conn *net.TCPConn) {
	buf := make([]byte, 2048)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		if _, err = conn.Write(buf[:n]); err != nil {
			return
		}
	}
}

func main() { server.Serve(echo) }
