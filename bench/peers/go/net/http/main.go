// Go's HTTP server, net/http, which says hello to every request.   peer_go_http 127.0.0.1:7000 workers
//
// It does more than the others: a Date in each answer, a request with all of its headers for each handler. peer_go_rawhttp does not.
package main

import (
	"log"
	"net/http"

	"peers/net/server"
)

var (
	hello = []byte("hello\n")
	plain = []string{"text/plain"}
)

func sayHello(w http.ResponseWriter, _ *http.Request) {
	w.Header()["Content-Type"] = plain
	w.Write(hello)
}

func main() {
	log.Fatal(http.Serve(server.Listen(), http.HandlerFunc(sayHello)))
}
