package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// SO_REUSEPORT of Linux, which package syscall does not name.
const reusePort = 15

// get makes an ordinary connection, from a given address or with a given packet mark (CAP_NET_RAW
// on Linux 5.17 and newer), asks for "/", and prints the answer's first line or why there is none.
func get(arguments []string) error {
	flags := flag.NewFlagSet("get", flag.ContinueOnError)
	from := flags.String("from", "", "the local address and port")
	mark := flags.Int("mark", 0, "the packet mark")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	dialer := net.Dialer{Timeout: 3 * time.Second, Control: withOptions(func(socket int) error {
		if *mark != 0 {
			return syscall.SetsockoptInt(socket, syscall.SOL_SOCKET, syscall.SO_MARK, *mark)
		}
		return syscall.SetsockoptInt(socket, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	})}
	if *from != "" {
		local, err := net.ResolveTCPAddr("tcp", *from)
		if err != nil {
			return err
		}
		dialer.LocalAddr = local
	}
	fmt.Println(outcome(ask(&dialer, flags.Arg(0))))
	return nil
}

func ask(dialer *net.Dialer, to string) (string, error) {
	connection, err := dialer.Dial("tcp", to)
	if err != nil {
		return "", err
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintf(connection, "GET / HTTP/1.0\r\nHost: %s\r\n\r\n", to)
	answer := make([]byte, 12)
	_, err = io.ReadFull(connection, answer)
	return string(answer), err
}

// outcome is the answer, or the word for what came instead.
func outcome(answer string, err error) string {
	var timeout net.Error
	switch {
	case err == nil:
		return answer
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "reset"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	default:
		return err.Error()
	}
}

// listen tries to share a port with whoever listens there, and prints whether that worked.
func listen(arguments []string) error {
	if len(arguments) != 1 {
		return fmt.Errorf("listen needs an address and a port")
	}
	config := net.ListenConfig{Control: withOptions(func(socket int) error {
		if err := syscall.SetsockoptInt(socket, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
			return err
		}
		return syscall.SetsockoptInt(socket, syscall.SOL_SOCKET, reusePort, 1)
	})}
	listener, err := config.Listen(context.Background(), "tcp", arguments[0])
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		fmt.Println("in use")
	case err != nil:
		return err
	default:
		fmt.Println("listens")
		listener.Close()
	}
	return nil
}

func withOptions(set func(socket int) error) func(string, string, syscall.RawConn) error {
	return func(_, _ string, raw syscall.RawConn) error {
		var failed error
		if err := raw.Control(func(descriptor uintptr) { failed = set(int(descriptor)) }); err != nil {
			return err
		}
		return failed
	}
}
