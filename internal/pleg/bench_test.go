package pleg

import (
	"fmt"
	"testing"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
)

// crowd is how many pods the runtime has.
const crowd = 110

// BenchmarkListed is what it costs to find the one pod that has changed in a list.
func BenchmarkListed(b *testing.B) {
	lists := [][]pod.Listing{crowdOf("1"), crowdOf("2")}
	l := &loop{p: New(Config{}, zap.NewNop())}
	l.listed(result{list: lists[1]})
	if len(l.queue) != crowd || !l.unsent {
		b.Fatalf("the first list made %d hints", len(l.queue))
	}
	l.queue = nil
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		l.listed(result{list: lists[n%2]})
		if len(l.queue) != 1 {
			b.Fatalf("%d hints, want one", len(l.queue))
		}
		l.queue = l.queue[1:]
	}
}

// BenchmarkHint is what an event costs on its way to a worker when many of one pod
// come before it is taken.
func BenchmarkHint(b *testing.B) {
	l := &loop{p: New(Config{}, zap.NewNop())}
	news := streamNews{hint: pod.Hint{UID: "u-7", Why: "container stopped"}}
	b.ReportAllocs()
	for b.Loop() {
		for range 4 {
			l.news(news)
		}
		if len(l.queue) != 1 {
			b.Fatalf("%d hints, want one", len(l.queue))
		}
		l.queue = l.queue[1:]
	}
}

// crowdOf is a list whose first pod has the digest.
func crowdOf(digest string) []pod.Listing {
	var list []pod.Listing
	for i := range crowd {
		list = append(list, pod.Listing{Ref: pod.Ref{UID: types.UID(fmt.Sprint("u-", i)), Namespace: "ns", Name: fmt.Sprint(i)}, Digest: "0", Live: true})
	}
	list[0].Digest = digest
	return list
}
