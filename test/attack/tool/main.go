// Command attack does from inside a pod what a process with a few capabilities can do to get round
// the mesh. It is for the tests' own cluster: one packet or connection at a time, never a flood.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

var commands = map[string]func(arguments []string) error{
	"idle":     idle,
	"bare-ack": bareAck,
	"get":      get,
	"listen":   listen,
	"count":    count,
}

func main() {
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fail(fmt.Errorf("usage: attack idle | bare-ack FROM TO | get [-from ADDRESS] [-mark N] TO | listen ADDRESS | count FROM PORT"))
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "attack:", err)
	os.Exit(1)
}

// idle waits to be told to end.
func idle([]string) error {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM)
	<-ended
	return nil
}
