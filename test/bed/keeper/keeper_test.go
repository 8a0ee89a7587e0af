package keeper

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestParseMounts(t *testing.T) {
	t.Parallel()
	got := parseMounts("22 1 0:20 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n" +
		"23 1 0:21 / /a\\040b rw - tmpfs tmpfs rw\nbroken\n")
	want := []mountEntry{{"/sys/fs/cgroup/cpu", "cgroup"}, {"/a b", "tmpfs"}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	const rest = " 7 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0"
	if p, ok := parseStat(9, "9 (a ) b) S"+rest); !ok || p != (proc{pid: 9, parent: 7, start: "4711", name: "a ) b"}) {
		t.Errorf("got %+v, %v", p, ok)
	}
	for _, stat := range []string{"9 (dead) Z" + rest, "", "9 (short) S 1"} {
		if p, ok := parseStat(9, stat); ok {
			t.Errorf("%q: got %+v", stat, p)
		}
	}
}

func TestWithDescendants(t *testing.T) {
	t.Parallel()
	table := []proc{{pid: 5, parent: 4}, {pid: 4, parent: 2}, {pid: 2, parent: 1}, {pid: 3, parent: 1}, {pid: 9, parent: 2}}
	var got []int
	for _, p := range withDescendants(table, map[int]bool{2: true}, 9) {
		got = append(got, p.pid)
	}
	if !slices.Equal(got, []int{5, 4, 2}) {
		t.Errorf("got %v", got)
	}
}

func TestSelectRules(t *testing.T) {
	t.Parallel()
	const mine = `-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"nab_a_net\" id: \"1\"" -m multiport --dports 80 -j CNI-DN-aa`
	listing := "-N CNI-DN-aa\n" + mine + "\n" + strings.ReplaceAll(strings.ReplaceAll(mine, "nab_a_net", "nab_b_net"), "-aa", "-bb") + "\n"
	rules := selectRules(listing, "nab_a_net")
	if want := []string{mine, "-N CNI-DN-aa"}; !slices.Equal(rules, want) {
		t.Fatalf("got %q", rules)
	}
	if got, want := undo(rules), []string{"-D" + mine[2:], "-F CNI-DN-aa", "-X CNI-DN-aa"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	udp := strings.Replace(mine, "-p tcp", "-p udp", 1)
	if got, want := selectRules(mine+"\n"+udp+"\n", "nab_a_net"), []string{mine, "-N CNI-DN-aa", udp}; !slices.Equal(got, want) {
		t.Errorf("a chain of two rules is removed once: got %q", got)
	}
}

func TestDamagedSpecIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := Spec{Name: "a", Dir: dir, CgroupRoot: "/nab-a", Bridge: "nab1", Network: "n"}
	if err := good.Save(); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err != nil {
		t.Error(err)
	}
	for _, damage := range []func(*Spec){
		func(s *Spec) { s.CgroupRoot = "/" },
		func(s *Spec) { s.CgroupRoot = "/nab-a/../system.slice" },
		func(s *Spec) { s.Bridge = "eth0" },
		func(s *Spec) { s.Name = "" },
		func(s *Spec) { s.Network = "" },
	} {
		bad := good
		damage(&bad)
		if err := bad.Save(); err != nil {
			t.Fatal(err)
		}
		if s, err := Load(dir); err == nil {
			t.Errorf("accepted %+v", s)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "bed.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil {
		t.Error("accepted half a description")
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	self := Self()
	if !self.Alive() {
		t.Error("this process does not live")
	}
	self.Start += "0"
	if self.Alive() || (Identity{}).Alive() {
		t.Error("another process was taken for it")
	}
}

func TestRegistryKnobs(t *testing.T) {
	t.Parallel()
	r := newImageRegistry()
	server := httptest.NewServer(r)
	defer server.Close()
	ask := func(path, user string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if user != "" {
			req.SetBasicAuth(user, "p")
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode
	}
	check := func(path, user string, want int) {
		t.Helper()
		if got := ask(path, user); got != want {
			t.Errorf("%s as %q: got %d, want %d", path, user, got, want)
		}
	}
	check("/v2/", "", 200)
	r.set(RegistryKnobs{Username: "u", Password: "p"})
	check("/v2/", "", 401)
	check("/v2/", "x", 401)
	check("/v2/", "u", 200)
	r.set(RegistryKnobs{FailStatus: 503, FailPath: "/y/", FailTimes: 2})
	check("/v2/", "", 200)
	check("/v2/y/manifests/1", "", 503)
	check("/v2/y/manifests/1", "", 503)
	check("/v2/y/manifests/1", "", 404)
	r.set(RegistryKnobs{Delay: 30 * time.Millisecond})
	start := time.Now()
	check("/v2/", "", 200)
	if time.Since(start) < 30*time.Millisecond {
		t.Error("the registry did not delay")
	}
}

func TestStatusNames(t *testing.T) {
	t.Parallel()
	f := newFamily()
	if err := f.signal("x", syscall.SIGTERM); err == nil {
		t.Error("signalled what does not run")
	}
	if len(f.statuses()) != 0 {
		t.Error("statuses of nothing")
	}
}
