package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// maxNoted is how much of a content is noted, in bytes.
const maxNoted = 64

// watch notes "file content nanoseconds" for each new content of the files. The
// time is taken when the file was read.
func watch(out string, files []string) error {
	notes, err := os.OpenFile(out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return fmt.Errorf("open what takes the notes: %w", err)
	}
	defer func() { _ = notes.Close() }()
	changed, failed, err := changes(files)
	if err != nil {
		return err
	}
	seen := map[string]string{}
	for {
		for _, file := range files {
			content, err := os.ReadFile(file)
			at := time.Now()
			text := strings.TrimSpace(string(content))
			if err != nil {
				text = "missing"
			}
			if text == seen[file] {
				continue
			}
			seen[file] = text
			if len(text) > maxNoted {
				text = text[:maxNoted]
			}
			if _, err := fmt.Fprintf(notes, "%s %q %d\n", file, text, at.UnixNano()); err != nil {
				return fmt.Errorf("note a content: %w", err)
			}
		}
		select {
		case <-changed:
		case err := <-failed:
			return fmt.Errorf("watch: %w", err)
		}
	}
}

// changes tells when something has changed beside the files. When the kernel has no
// inotify instance left for this user it says so every few milliseconds.
func changes(files []string) (<-chan struct{}, <-chan error, error) {
	changed := make(chan struct{}, 1)
	hint := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	w, err := fsnotify.NewWatcher()
	if errors.Is(err, unix.EMFILE) {
		go func() {
			for range time.Tick(2 * time.Millisecond) {
				hint()
			}
		}()
		return changed, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("make a watcher: %w", err)
	}
	for _, file := range files {
		if err := w.Add(filepath.Dir(file)); err != nil {
			return nil, nil, fmt.Errorf("watch %s: %w", file, errors.Join(err, w.Close()))
		}
	}
	go func() {
		for range w.Events {
			hint()
		}
	}()
	return changed, w.Errors, nil
}
