// Command flood writes a numbered line, waits until it may go on, writes more as fast
// as it is told to, then a last one, and stays.
//
// Owns: nothing. Consumes: nothing. Publishes: nothing.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

// batch is how much is written at once, in bytes.
const batch = 64 << 10

func main() {
	rate := flag.Int64("rate", 200e6, "bytes per second")
	length := flag.Int("line", 1000, "bytes of a line")
	last := flag.Duration("for", time.Minute, "how long")
	wait := flag.String("wait", "", "file to wait for after the first line")
	flag.Parse()
	if err := flood(*rate, *length, *last, *wait); err != nil {
		fmt.Fprintln(os.Stderr, "flood:", err)
		os.Exit(1)
	}
	for { // the test ends it
		time.Sleep(time.Hour)
	}
}

func flood(rate int64, length int, last time.Duration, wait string) error {
	rest := strings.Repeat("x", max(length-12, 0)) + "\n"
	buf := make([]byte, 0, batch+length)
	if _, err := fmt.Printf("%010d %s", 0, rest); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	for wait != "" {
		if _, err := os.Stat(wait); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	began := time.Now()
	line, written := 1, int64(0)
	for time.Since(began) < last {
		for buf = buf[:0]; len(buf) < batch; line++ {
			buf = fmt.Appendf(buf, "%010d ", line)
			buf = append(buf, rest...)
		}
		if _, err := os.Stdout.Write(buf); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		written += int64(len(buf))
		time.Sleep(time.Until(began.Add(time.Duration(float64(written) / float64(rate) * float64(time.Second)))))
	}
	_, err := fmt.Printf("end %d %d %s\n", line, written, time.Since(began).Round(time.Millisecond))
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
