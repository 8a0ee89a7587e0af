package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"nodeagent.dev/nodeagent/test/volumes/reading"
)

// pairs reads until it is told to end, and then writes what all readers saw.
func pairs(n int, dir, a, b, out string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	tallies := make([]reading.Tally, n)
	var readers sync.WaitGroup
	for i := range tallies {
		readers.Go(func() { tallies[i] = reading.Pairs(ctx, dir, a, b) })
	}
	readers.Wait()
	var all reading.Tally
	for _, t := range tallies {
		all = all.Add(t)
	}
	text, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("encode what was seen: %w", err)
	}
	next := out + ".next"
	if err := os.WriteFile(next, text, 0o666); err != nil {
		return fmt.Errorf("write what was seen: %w", err)
	}
	return os.Rename(next, out)
}
