package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
)

// forward accepts connections on an inherited listening socket and passes them on to an address.
// A socket stays in the network namespace that made it, so the host can reach the API server inside the sandbox
// although no link, route or rule joins the two.
func forward() int {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: kube forward FD ADDRESS")
		return 2
	}
	fd, err := strconv.Atoi(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "forward: not a file descriptor:", os.Args[1])
		return 2
	}
	listener, err := net.FileListener(os.NewFile(uintptr(fd), "listener"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "forward:", err)
		return 1
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "forward:", err)
			return 1
		}
		go relay(client.(*net.TCPConn), os.Args[2])
	}
}

func relay(client *net.TCPConn, address string) {
	defer client.Close()
	connection, err := net.Dial("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, "forward:", err)
		return
	}
	server := connection.(*net.TCPConn)
	defer server.Close()
	done := make(chan struct{})
	go func() {
		copyHalf(server, client)
		close(done)
	}()
	copyHalf(client, server)
	<-done
}

// copyHalf keeps half-closed connections working: port-forward and exec end one direction before the other.
func copyHalf(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil {
		// One side is gone without a farewell: nothing more can be delivered in either direction.
		to.Close()
		from.Close()
		return
	}
	to.CloseWrite()
}
