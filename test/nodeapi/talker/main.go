package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
)

func main() {
	failed := make(chan error)
	for port, talk := range map[int]func(net.Conn) error{7001: echo, 7002: sum, 7003: hello} {
		go func() { failed <- serve(port, talk) }()
	}
	fmt.Fprintln(os.Stderr, "talker:", <-failed)
	os.Exit(1)
}

func serve(port int, talk func(net.Conn) error) error {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		go func() {
			defer conn.Close()
			if err := talk(conn); err != nil {
				fmt.Fprintf(os.Stderr, "port %d: %v\n", port, err)
			}
		}()
	}
}

func echo(conn net.Conn) error {
	_, err := io.Copy(conn, conn)
	return err
}

func sum(conn net.Conn) error {
	h := sha256.New()
	if _, err := io.CopyN(h, conn, 100000); err != nil {
		return err
	}
	_, err := fmt.Fprintf(conn, "%x", h.Sum(nil))
	return err
}

func hello(conn net.Conn) error {
	_, err := io.WriteString(conn, "hello")
	return err
}
