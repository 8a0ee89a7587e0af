package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// CacheEnv overrides where built programs are kept.
const CacheEnv = "NODEAGENT_BED_CACHE"

// Builder builds programs once and keeps them in a cache.
type Builder struct {
	cache    string
	checkout string

	mu  sync.Mutex // one line of progress at a time
	out io.Writer
}

// New makes a builder that reports progress to out.
func New(out io.Writer) (*Builder, error) {
	checkout, err := Checkout()
	if err != nil {
		return nil, err
	}
	cache := os.Getenv(CacheEnv)
	if cache == "" {
		home, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("find a folder for built programs (set %s): %w", CacheEnv, err)
		}
		cache = filepath.Join(home, "nodeagent-bed")
	}
	if cache, err = filepath.Abs(cache); err != nil {
		return nil, fmt.Errorf("make the path of the build cache absolute: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(cache, "locks"), 0o755); err != nil {
		return nil, fmt.Errorf("create the build cache (set %s to put it elsewhere): %w", CacheEnv, err)
	}
	return &Builder{cache: cache, checkout: checkout, out: out}, nil
}

// Cache is the folder that holds what was built.
func (b *Builder) Cache() string { return b.cache }

// CheckoutDir is the root of the checkout.
func (b *Builder) CheckoutDir() string { return b.checkout }

// Progress writes one line for people to see.
func (b *Builder) Progress(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.out != nil {
		fmt.Fprintf(b.out, format+"\n", args...)
	}
}

// Ensure builds the named components that are not in the cache yet and returns
// the path of every one.
func (b *Builder) Ensure(ctx context.Context, names ...string) (map[string]string, error) {
	paths := make(map[string]string, len(names))
	for _, name := range names {
		c, err := Lookup(name)
		if err != nil {
			return nil, err
		}
		if paths[name], err = b.ensure(ctx, c); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// Version is the version at which a component is pinned, like "v1.2.3".
func (b *Builder) Version(name string) (string, error) {
	c, err := Lookup(name)
	if err != nil {
		return "", err
	}
	return moduleVersion(filepath.Join(b.moduleDir(c), "go.mod"), c.Module)
}

func (b *Builder) moduleDir(c Component) string {
	return filepath.Join(b.checkout, "test", "bed", "components", c.Folder)
}

func (b *Builder) ensure(ctx context.Context, c Component) (string, error) {
	moduleDir := b.moduleDir(c)
	version, err := moduleVersion(filepath.Join(moduleDir, "go.mod"), c.Module)
	if err != nil {
		return "", err
	}
	key, err := c.key(moduleDir, version)
	if err != nil {
		return "", err
	}
	return b.Once(ctx, key, c.Name, func(ctx context.Context, tmp string) error {
		if c.Cgo {
			if err := Prerequisites(ctx, b.Progress, "gcc", "libc6-dev", "pkg-config", "libseccomp-dev"); err != nil {
				return err
			}
		}
		b.Progress("building %s %s (first time only, %s) ...", c.Name, version, c.About)
		start := time.Now()
		cgo := "CGO_ENABLED=0"
		if c.Cgo {
			cgo = "CGO_ENABLED=1"
		}
		if err := goCommand(ctx, moduleDir, []string{cgo}, c.arguments(version, filepath.Join(tmp, c.Name))...); err != nil {
			return fmt.Errorf("build %s %s from %s: %w", c.Name, version, c.Package, err)
		}
		b.Progress("built %s %s in %s", c.Name, version, time.Since(start).Round(time.Second))
		return nil
	})
}

// Once returns the path of file in the cache folder key, and lets make create
// it in a folder of its own first when it is not there. Only one process at a
// time makes one key, and a half-made folder is never seen.
func (b *Builder) Once(ctx context.Context, key, file string, makeIn func(ctx context.Context, tmp string) error) (string, error) {
	final := filepath.Join(b.cache, key)
	path := filepath.Join(final, file)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	unlock, err := b.lock(ctx, key)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	tmp, err := os.MkdirTemp(b.cache, ".tmp-"+key+"-")
	if err != nil {
		return "", fmt.Errorf("create a folder to build %s in: %w", key, err)
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return "", fmt.Errorf("open the folder of %s: %w", key, err)
	}
	if err := makeIn(ctx, tmp); err != nil {
		return "", err
	}
	if err := os.RemoveAll(final); err != nil {
		return "", fmt.Errorf("remove an incomplete %s: %w", final, err)
	}
	if err := os.Rename(tmp, final); err != nil {
		return "", fmt.Errorf("put %s into the cache: %w", key, err)
	}
	return path, nil
}

// lean leaves golang.org/x/net/trace out of gRPC, and with it templates, which call
// methods whose names nobody knows beforehand: with them the linker has to keep
// every exported method of every type, a third of the program.
const lean = "grpcnotrace"

// Program builds a main package of the checkout as releases are built, and returns
// its path in the cache. The Go command itself decides whether anything has to be
// done.
func (b *Builder) Program(ctx context.Context, pkg, name, linkerFlags string) (string, error) {
	sum := sha256.Sum256([]byte(b.checkout))
	dir := filepath.Join(b.cache, "checkout-"+hex.EncodeToString(sum[:])[:12])
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("create the folder for programs of the checkout: %w", err)
	}
	unlock, err := b.lock(ctx, filepath.Base(dir)+"-"+name)
	if err != nil {
		return "", err
	}
	defer unlock()
	out := filepath.Join(dir, name)
	args := []string{"build", "-trimpath", "-buildvcs=false", "-tags", lean, "-ldflags", linkerFlags, "-o", out, pkg}
	if err := goCommand(ctx, b.checkout, []string{"CGO_ENABLED=0"}, args...); err != nil {
		return "", fmt.Errorf("build %s of the checkout: %w", pkg, err)
	}
	return out, nil
}

func goCommand(ctx context.Context, dir string, env []string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = slices.Concat(os.Environ(), env, []string{"GOWORK=off", "GOFLAGS="})
	cmd.WaitDelay = 5 * time.Second
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("go %s was interrupted: %w", args[0], ctx.Err())
		}
		return fmt.Errorf("go %s in %s: %w\n%s", strings.Join(args, " "), dir, err, lastLines(output.String(), 30))
	}
	return nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}

// lock takes the lock file of a key, waiting for other processes visibly.
func (b *Builder) lock(ctx context.Context, key string) (func(), error) {
	path := filepath.Join(b.cache, "locks", key+".lock")
	said := false
	return Lock(ctx, path, func() {
		if !said {
			said = true
			b.Progress("waiting for another process that is building %s ...", key)
		}
	})
}

// Lock takes an exclusive lock on a file, made when missing, and returns what
// gives it back. While another process holds it, busy is called now and then.
func Lock(ctx context.Context, path string, busy func()) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if busy != nil {
			busy()
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("wait for the lock %s held by another process: %w", path, ctx.Err())
		case <-tick.C:
		}
	}
}
