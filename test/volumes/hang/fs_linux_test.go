package hang

import (
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// place is a directory to mount on, where that can be done.
func place(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("no FUSE: %v", err)
	}
	return t.TempDir()
}

func mounted(t *testing.T) (*FS, string) {
	t.Helper()
	dir := place(t)
	f, err := Mount(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f, dir
}

func TestAnswers(t *testing.T) {
	_, dir := mounted(t)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 0 {
		t.Errorf("read %v (%v), want an empty directory", entries, err)
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		t.Errorf("%v (%v), want a directory", info, err)
	}
}

func TestHangsUntilItAnswers(t *testing.T) {
	f, dir := mounted(t)
	f.Hang()
	looked := make(chan error, 1)
	go func() {
		_, err := os.Stat(dir)
		looked <- err
	}()
	<-f.Asked()
	select {
	case err := <-looked:
		t.Errorf("it answered although it was to hang: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if n := f.Waiting(); n != 1 {
		t.Errorf("%d requests wait, want one", n)
	}
	f.Answer()
	if err := <-looked; err != nil {
		t.Errorf("look at it once it answers: %v", err)
	}
}

func TestCloseEndsWaiting(t *testing.T) {
	dir := place(t)
	f, err := Mount(dir)
	if err != nil {
		t.Fatal(err)
	}
	f.Hang()
	looked := make(chan error, 1)
	go func() {
		_, err := os.Stat(dir)
		looked <- err
	}()
	<-f.Asked()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-looked; err != nil { // it may have been answered at the last moment
		t.Logf("whoever waited is told: %v", err)
	}
}
