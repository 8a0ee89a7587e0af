package source_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/pod"
	"nodeagent.dev/nodeagent/internal/source"
)

func newPod(ns, name, uid string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, UID: types.UID(uid)}}
}

func summary(d pod.Desired) string {
	var b strings.Builder
	for _, s := range d.Specs {
		b.WriteString(string(s.Source) + ":" + pod.RefOf(s.Pod).String() + "/" + string(s.Pod.UID) + " ")
	}
	if d.Synced {
		b.WriteString("synced")
	}
	return strings.TrimSpace(b.String())
}

func TestMerge(t *testing.T) {
	older := newPod("a", "x", "1")
	newer := newPod("a", "x", "2")
	newer.CreationTimestamp = metav1.NewTime(time.Unix(100, 0))
	type set struct {
		name pod.SourceName
		pods []*corev1.Pod
	}
	tests := []struct {
		name      string
		sets      []set
		want      string
		conflicts int
	}{
		{name: "nothing heard", want: ""},
		{name: "one of two heard", sets: []set{{pod.SourceAPI, []*corev1.Pod{newPod("b", "y", "1")}}}, want: "api:b/y/1"},
		{name: "an empty set counts as heard", sets: []set{{pod.SourceAPI, nil}, {pod.SourceFile, nil}}, want: "synced"},
		{
			name: "sorted by namespace and name",
			sets: []set{{pod.SourceAPI, []*corev1.Pod{newPod("b", "y", "1"), newPod("a", "z", "2")}}, {pod.SourceFile, []*corev1.Pod{newPod("a", "b", "3")}}},
			want: "file:a/b/3 api:a/z/2 api:b/y/1 synced",
		},
		{
			name: "a set replaces the one before",
			sets: []set{{pod.SourceFile, nil}, {pod.SourceAPI, []*corev1.Pod{newPod("b", "y", "1")}}, {pod.SourceAPI, []*corev1.Pod{newPod("b", "z", "2")}}},
			want: "api:b/z/2 synced",
		},
		{
			name:      "same UID: the source of higher rank wins",
			sets:      []set{{pod.SourceAPI, []*corev1.Pod{newPod("b", "y", "1")}}, {pod.SourceFile, []*corev1.Pod{newPod("a", "z", "1")}}},
			want:      "file:a/z/1 synced",
			conflicts: 1,
		},
		{
			name:      "same full name: the source of higher rank wins",
			sets:      []set{{pod.SourceAPI, []*corev1.Pod{newPod("a", "z", "1")}}, {pod.SourceFile, []*corev1.Pod{newPod("a", "z", "2")}}},
			want:      "file:a/z/2 synced",
			conflicts: 1,
		},
		{
			name:      "same full name in one source: the newest object wins",
			sets:      []set{{pod.SourceAPI, []*corev1.Pod{older, newer}}, {pod.SourceFile, nil}},
			want:      "api:a/x/2 synced",
			conflicts: 1,
		},
		{name: "an unknown source is ignored", sets: []set{{pod.SourceHTTP, []*corev1.Pod{older}}}, want: ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := source.NewMerge(pod.SourceFile, pod.SourceAPI)
			for _, s := range tt.sets {
				m.Set(s.name, s.pods)
			}
			got := m.Desired()
			if s := summary(got); s != tt.want {
				t.Errorf("got %q, want %q", s, tt.want)
			}
			if len(got.Conflicts) != tt.conflicts {
				t.Errorf("conflicts %q, want %d", got.Conflicts, tt.conflicts)
			}
			for _, s := range tt.sets {
				slices.Reverse(s.pods)
			}
			if s := summary(m.Desired()); s != tt.want {
				t.Errorf("after reversing the sets: got %q, want %q", s, tt.want)
			}
		})
	}
}
