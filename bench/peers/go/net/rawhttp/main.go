// Go's raw HTTP server, which says hello to every "\r\n\r\n".   peer_go_rawhttp 127.0.0.1:7000 workers
//
// Less than what the C and C++ servers do, which parse all of a request.
package main

import (
	"bytes"
	"net"

	"peers/net/server"
)

var (
	end   = []byte("\r\n\r\n")
	hello = []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n")
)

func sayHello(conn *net.TCPConn) {
	buf := make([]byte, 4096)
	have := 0
	for have < len(buf) { // a longer request is not for us
		n, err := conn.Read(buf[have:])
		if err != nil {
			return
		}
		have += n
		rest := buf[:have]
		for i := bytes.Index(rest, end); i >= 0; i = bytes.Index(rest, end) {
			rest = rest[i+len(end):]
			if _, err = conn.Write(hello); err != nil {
				return
			}
		}
		have = copy(buf, rest)
	}
}

func main() { server.Serve(sayHello) }
