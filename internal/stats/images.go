package stats

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// asksPerRead bounds how many sandboxes the runtime is asked about for one read.
	asksPerRead = 8
	// askTimeout is how long a read waits for that.
	askTimeout = 2 * time.Second
)

// images remembers what sandboxes were made from. Nearly always that is one image for
// all of them, the runtime's choice, so that the last answer stands for those of which
// it has not been asked yet.
type images struct {
	mu   sync.Mutex
	of   map[string]string
	last string
}

// fill sets the images of the sandboxes among rows, and forgets all others.
func (m *images) fill(rows []Row, ask func(context.Context, string) (string, error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := make(map[string]string, len(m.of))
	var unknown []string
	for i := range rows {
		if rows[i].Kind != KindSandbox {
			continue
		}
		id := rows[i].RuntimeID
		if image, ok := m.of[id]; ok {
			next[id] = image
		} else if len(unknown) < asksPerRead {
			unknown = append(unknown, id)
		}
	}
	m.of = next
	m.learn(unknown, ask)
	for i := range rows {
		if rows[i].Kind != KindSandbox {
			continue
		}
		if rows[i].Image = m.of[rows[i].RuntimeID]; rows[i].Image == "" {
			rows[i].Image = m.last
		}
	}
}

// learn asks about sandboxes, all at once. What fails is asked again at the next read.
func (m *images) learn(ids []string, ask func(context.Context, string) (string, error)) {
	if len(ids) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	answers := make([]string, len(ids))
	var group errgroup.Group
	for i, id := range ids {
		group.Go(func() error {
			answers[i], _ = ask(ctx, id) // without an answer the last one stands
			return nil
		})
	}
	_ = group.Wait() // the results are in answers
	for i, image := range answers {
		if image != "" {
			m.of[ids[i]], m.last = image, image
		}
	}
}
