package certificate

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

func TestDecide(t *testing.T) {
	ca := newAuthority(t, "ca")
	good, later, expired, longAgo := ca.pair(t, time.Hour), ca.pair(t, 2*time.Hour), ca.pair(t, -time.Minute), ca.pair(t, -30*time.Minute)
	kube := func(pair *tls.Certificate) *kubeconfig { return &kubeconfig{rest: &rest.Config{}, pair: pair} }
	token := &kubeconfig{rest: &rest.Config{BearerToken: "x"}}
	boot := kube(nil)
	now := time.Now()
	gone := errors.New("gone")
	for name, c := range map[string]struct {
		f    facts
		want decision
		says string
	}{
		"nothing":                    {facts{kube: kube(nil)}, decision{}, "no client certificate"},
		"kubeconfig":                 {facts{kube: kube(good)}, decision{pair: good, usable: true}, ""},
		"kubeconfig, gone since":     {facts{kube: kube(good), kubeErr: gone}, decision{pair: good, usable: true}, ""},
		"token":                      {facts{kube: token}, decision{usable: true}, ""},
		"expired":                    {facts{kube: kube(expired)}, decision{pair: expired, expired: true}, "has expired at"},
		"stored does not count":      {facts{kube: kube(expired), stored: good}, decision{pair: expired, expired: true}, "has expired at"},
		"rotation: stored first":     {facts{rotate: true, kube: kube(later), stored: good}, decision{pair: good, usable: true}, ""},
		"rotation: kubeconfig":       {facts{rotate: true, kube: kube(good), stored: expired}, decision{pair: good, usable: true}, ""},
		"rotation: token":            {facts{rotate: true, kube: token, stored: expired}, decision{usable: true}, ""},
		"rotation: the newer of two": {facts{rotate: true, kube: kube(expired), stored: longAgo}, decision{pair: expired, expired: true}, "/pem or /kube"},
		"refused for a moment":       {facts{kube: kube(good), refused: now.Add(-time.Second)}, decision{pair: good, usable: true}, ""},
		"refused":                    {facts{kube: kube(good), shown: good, refused: now.Add(-time.Minute)}, decision{pair: good, refused: true, spurned: good}, "401"},
		"refused: there is another":  {facts{rotate: true, kube: kube(later), stored: good, shown: good, refused: now.Add(-time.Minute)}, decision{pair: later, usable: true, spurned: good}, ""},
		"refused before":             {facts{rotate: true, kube: kube(later), stored: good, shown: later, spurned: good}, decision{pair: later, usable: true, spurned: good}, ""},
		"refused, and only that":     {facts{rotate: true, kube: kube(good), stored: good, shown: good, spurned: good}, decision{pair: good, usable: true, spurned: good}, ""},
		"refused token":              {facts{kube: token, refused: now.Add(-time.Minute)}, decision{refused: true}, "401"},
		"bootstrap":                  {facts{kube: boot, kubeErr: gone, boot: boot}, decision{enrol: true}, "--bootstrap-kubeconfig"},
		"bootstrap, rotation":        {facts{rotate: true, kube: boot, kubeErr: gone, boot: boot}, decision{enrol: true, derive: true}, "get csr"},
		"bootstrap, stored":          {facts{rotate: true, kube: boot, kubeErr: gone, boot: boot, stored: good}, decision{pair: good, usable: true, derive: true}, ""},
		"bootstrap is not needed":    {facts{rotate: true, kube: kube(good), boot: boot}, decision{pair: good, usable: true}, ""},
		"bootstrap, expired":         {facts{kube: kube(expired), boot: boot}, decision{pair: expired, expired: true, enrol: true}, "has expired at"},
		"bootstrap is broken":        {facts{kube: kube(expired), bootErr: gone}, decision{pair: expired, expired: true}, "(gone)"},
		"bootstrap, refused":         {facts{rotate: true, kube: kube(good), boot: boot, shown: good, refused: now.Add(-time.Minute)}, decision{pair: good, refused: true, enrol: true, spurned: good}, "401"},
	} {
		c.f.now, c.f.patience = now, 20*time.Second
		got := decide(&c.f)
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
		text := got.trouble(&c.f, places{"/kube", "/boot", "/pem", c.f.rotate})
		if (c.says == "") != (text == "") || !strings.Contains(text, c.says) {
			t.Errorf("%s: %q, want %q", name, text, c.says)
		}
	}
}
