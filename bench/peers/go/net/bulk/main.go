// Go's server that reads and discards.   peer_go_bulk 127.0.0.1:7000 workers
package main

import (
	"net"

	"peers/net/server"
)

func discard(conn *net.TCPConn) {
	buf := make([]byte, 65536)
	for {
		if _, err := conn.Read(buf); err != nil {
			return
		}
	}
}

func main() { server.Serve(discard) }
