package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "witness:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("what is to be done? See its documentation")
	}
	switch verb, rest := args[0], args[1:]; {
	case verb == "watch" && len(rest) >= 2:
		return watch(rest[0], rest[1:])
	case verb == "pairs" && len(rest) == 5:
		n, err := strconv.Atoi(rest[0])
		if err != nil {
			return fmt.Errorf("the number of readers: %w", err)
		}
		return pairs(n, rest[1], rest[2], rest[3], rest[4])
	case verb == "swap" && len(rest) == 2:
		return swap(rest[0], rest[1])
	case verb == "special" && len(rest) == 1:
		return special(rest[0])
	default:
		return fmt.Errorf("%q: not understood", args)
	}
}

// swap exchanges two names as fast as it can. Others may do so, too.
func swap(a, b string) error {
	for {
		if err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE); err != nil {
			return fmt.Errorf("exchange %s and %s: %w", a, b, err)
		}
	}
}
