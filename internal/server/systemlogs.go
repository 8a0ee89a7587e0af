package server

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
)

// systemLogs shows the files of the node's logs at prefix, and if it may, what
// its services log.
func (s *Server) systemLogs(prefix string) http.Handler {
	files := logFiles{s.cfg.SystemLogDir}
	h := long(s.oneOf(s.followers, "log readers", http.FileServerFS(files).ServeHTTP))
	if s.cfg.Handlers.LogQuery {
		h = s.queried(files, h)
	}
	return http.StripPrefix(prefix, h)
}

// logFiles are the regular files and folders below a folder. Symlinks are
// followed as long as they stay below it, absolute ones included: those in
// /var/log/containers are.
type logFiles struct{ dir string }

// Open implements fs.FS.
func (l logFiles) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	dir, err := filepath.EvalSymlinks(l.dir)
	if err != nil {
		return nil, fmt.Errorf("find the log directory: %w", err)
	}
	real, err := filepath.EvalSymlinks(filepath.Join(dir, filepath.FromSlash(name)))
	if err != nil {
		return nil, plain(name, err)
	}
	below, err := filepath.Rel(dir, real)
	if err != nil || !filepath.IsLocal(below) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the log directory: %w", err)
	}
	defer root.Close()
	// A name that was replaced meanwhile cannot lead outside of root, and a pipe
	// does not hold the request.
	f, err := root.OpenFile(below, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, plain(name, err)
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() && !info.IsDir() {
		_ = f.Close()
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return f, nil
}

// plain keeps of an error what the file server tells apart.
func plain(name string, err error) error {
	for _, known := range []error{fs.ErrNotExist, fs.ErrPermission} {
		if errors.Is(err, known) {
			return &fs.PathError{Op: "open", Path: name, Err: known}
		}
	}
	return err
}
