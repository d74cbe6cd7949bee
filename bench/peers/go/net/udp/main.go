// Go's datagram echo, one by one.   peer_go_udp 127.0.0.1:7000 workers
//
// The calls with netip.AddrPort allocate nothing, unlike those with *net.UDPAddr.
package main

import (
	"fmt"
	"log"
	"net"
	"net/netip"

	"peers/net/server"
)

func main() {
	address, err := netip.ParseAddrPort(server.Address())
	if err != nil {
		log.Fatal(err)
	}
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(address))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on %s\n", conn.LocalAddr())
	buf := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			log.Fatal(err)
		}
		if _, err = conn.WriteToUDPAddrPort(buf[:n], from); err != nil {
			log.Fatal(err)
		}
	}
}
