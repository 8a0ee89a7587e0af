package image

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestHooks: each request is counted once, by what was found out about it.
func TestHooks(t *testing.T) {
	for name, c := range map[string]struct {
		policy  corev1.PullPolicy
		present bool
		trouble error
		want    []string
	}{
		"there":     {corev1.PullIfNotPresent, true, nil, []string{"IfNotPresent true false"}},
		"pulled":    {corev1.PullIfNotPresent, false, nil, []string{"pulling u", "pulled u 1s 7", "IfNotPresent false true"}},
		"always":    {corev1.PullAlways, true, nil, []string{"pulling u", "pulled u 1s 7", "Always ? true"}},
		"never":     {corev1.PullNever, false, nil, []string{"Never false true"}},
		"not had":   {corev1.PullIfNotPresent, false, errors.New("x"), []string{"pulling u", "IfNotPresent false true"}},
		"not known": {"", true, nil, []string{"IfNotPresent true false"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			var got []string
			word := func(b *bool) string {
				if b == nil {
					return "?"
				}
				return fmt.Sprint(*b)
			}
			r := &registry{present: map[string]bool{"a:1": c.present}, takes: time.Second, pullErr: c.trouble}
			p := newPuller(t, Config{Hooks: Hooks{
				Ensured: func(policy corev1.PullPolicy, present, pull *bool) {
					got = append(got, fmt.Sprint(policy, " ", word(present), " ", word(pull)))
				},
				Pulling: func(uid types.UID) { got = append(got, fmt.Sprint("pulling ", uid)) },
				Pulled: func(uid types.UID, took time.Duration, size int64) {
					got = append(got, fmt.Sprint("pulled ", uid, " ", took, " ", size))
				},
			}}, r)
			req := request("a:1", c.policy)
			req.Pod.UID = "u"
			_, _ = p.Ensure(t.Context(), req) // how it ends is tested elsewhere
			if !slices.Equal(got, c.want) {
				t.Errorf("%s: %q, want %q", name, got, c.want)
			}
		})
	}
}
