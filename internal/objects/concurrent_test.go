package objects

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"
)

// Pods come, change their minds and go, and objects change, all at once. Whatever
// was told, what a pod reads in the end is what is.
func TestManyAtOnce(t *testing.T) {
	const pods, names, rounds = 8, 5, 40
	srv := newServer()
	for n := range names {
		srv.put(configMap(strconv.Itoa(n), "0"))
	}
	changed := make(chan struct{}, 1)
	var s *Store
	s = New(srv.client, Deps{Changed: func(uids []types.UID) {
		s.Drop("nobody") // it may call the Store
		select {
		case changed <- struct{}{}:
		default:
		}
	}}, zap.NewNop())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()

	var busy sync.WaitGroup
	for p := range pods {
		busy.Go(func() {
			uid := types.UID(fmt.Sprintf("pod-%d", p))
			for range rounds {
				name := strconv.Itoa(rand.IntN(names))
				s.Want(uid, "ns", []string{name, strconv.Itoa(rand.IntN(names))}, nil)
				if cm, err := s.ConfigMap(ctx, "ns", name); err != nil || cm.Name != name {
					t.Errorf("%s: %v, %v", name, cm, err)
				}
				if rand.IntN(3) == 0 {
					s.Drop(uid)
				}
			}
			s.Want(uid, "ns", []string{strconv.Itoa(p % names)}, nil)
		})
	}
	busy.Go(func() {
		for i := range rounds {
			srv.put(configMap(strconv.Itoa(i%names), strconv.Itoa(i)))
		}
	})
	busy.Wait()
	for n := range names {
		srv.put(configMap(strconv.Itoa(n), "last"))
	}
	for n := range names {
		for {
			cm, err := s.ConfigMap(ctx, "ns", strconv.Itoa(n))
			if err != nil {
				t.Fatal(err)
			}
			if cm.Data["key"] == "last" {
				break
			}
			<-changed
		}
	}
	for p := range pods {
		s.Drop(types.UID(fmt.Sprintf("pod-%d", p)))
	}
	if len(s.entries)+len(s.pods) != 0 {
		t.Errorf("kept: %v %v", s.entries, s.pods)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// BenchmarkWant is what a worker pays at each look at its pod.
func BenchmarkWant(b *testing.B) {
	cms, secs := []string{"kube-root-ca.crt", "settings", "features"}, []string{"token", "tls"}
	for _, bench := range []struct {
		name string
		want func(s *Store, i int)
	}{
		{"unchanged", func(s *Store, i int) { s.Want("p0", "ns", cms, secs) }},
		{"another", func(s *Store, i int) { s.Want("p0", "ns", cms[:1+i%2], secs) }},
		{"come and go", func(s *Store, i int) { s.Want("new", "ns", cms, secs); s.Drop("new") }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			s := New(newServer().client, Deps{}, zap.NewNop())
			for p := range 250 {
				s.Want(types.UID(fmt.Sprintf("p%d", p)), "ns", cms, secs)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				bench.want(s, i)
			}
		})
	}
}
