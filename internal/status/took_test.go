package status

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestTook: a change counts from when it was handed over, through failures, and
// what overtakes it does not begin anew.
func TestTook(t *testing.T) {
	s := newServer(newPod("a"))
	var took []time.Duration
	run(t, s, func(t *testing.T, w *Writer) {
		w.took = func(d time.Duration) { took = append(took, d) }
		s.setRule(func(context.Context, call) error { return fmt.Errorf("connection refused") })
		w.Publish(s.pod("a"), saying("1"), false)
		pass(10 * time.Second)
		w.Publish(s.pod("a"), saying("2"), false)
		pass(10 * time.Second)
		s.setRule(nil)
		pass(2 * retryMax)
		if len(took) != 1 || took[0] < 20*time.Second || took[0] > 20*time.Second+2*retryMax {
			t.Fatalf("took %v", took)
		}
		w.Publish(s.pod("a"), saying("3"), false)
		synctest.Wait()
		if len(took) != 2 || took[1] != 0 {
			t.Errorf("took %v, want nothing for the last", took)
		}
		w.Publish(s.pod("a"), saying("3"), false)
		pass(time.Minute)
		if len(took) != 2 {
			t.Errorf("what is known already was counted: %v", took)
		}
	})
}
