//go:build e2e

package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestProgramHasOnlyWhatItCalls: the linker leaves out methods that nothing calls.
// It cannot once anything looks methods up by names that are made at run time, as
// templates do; a third more of the program is in memory then. The method stands for
// all: its type is used, it never is.
func TestProgramHasOnlyWhatItCalls(t *testing.T) {
	b := cluster(t)
	nodeagentOnly(t, b)
	program, err := os.ReadFile(filepath.Join(b.BinDir, "nodeagent"))
	must(t, "reading the program", err)
	if bytes.Contains(program, []byte("github.com/godbus/dbus/v5.(*Conn).ExportAll")) {
		t.Error("the program has methods that nothing calls; `go build -ldflags=-dumpdep` says <ReflectMethod> of the functions " +
			"that are to blame. Is it built with -tags grpcnotrace?")
	}
	if !bytes.Contains(program, []byte("github.com/godbus/dbus/v5.(*Conn)")) {
		t.Error("there is no godbus any more; look for another method")
	}
}
