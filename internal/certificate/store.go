package certificate

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/client-go/util/certificate"
	"k8s.io/klog/v2"
)

// The first part of the names of the node's pairs, as the kubelet has them.
const (
	clientPrefix = "kubelet-client"
	serverPrefix = "kubelet-server"
)

// stamp is the time in the name of a pair.
const stamp = "2006-01-02-15-04-05"

// aside is added to the name of what is in the way.
const aside = ".unusable"

// store keeps pairs in the kubelet's files: PREFIX-TIME.pem, and the link
// PREFIX-current.pem to the newest. It is client-go's FileStore, and copes with
// what that one does not: a pair that cannot be read is as good as none, a file
// where the link should be becomes a pair with a link, and no pair is written
// over another of the same second.
type store struct {
	dir, prefix       string
	certFile, keyFile string // used while there is no current pair
	log               *zap.Logger
	// notify is called after each Update.
	notify func()

	mu    sync.Mutex
	files certificate.FileStore
	last  *tls.Certificate // what Update stored last
	deny  bool             // Current has nothing, so that a new pair is asked for
}

// newStore opens the pairs in a directory, which need not exist. certFile and
// keyFile are used while there is no pair; they may be empty.
func newStore(dir, prefix, certFile, keyFile string, log *zap.Logger, notify func()) (*store, error) {
	s := &store{dir: dir, prefix: prefix, certFile: certFile, keyFile: keyFile, log: log, notify: notify}
	if err := s.clear(); err != nil {
		return nil, err
	}
	var err error
	// It finishes an exchange of links that was interrupted.
	s.files, err = certificate.NewFileStoreWithLogger(klog.New(nil), prefix, dir, dir, certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("opening the certificates in %s (--cert-dir): %w", dir, err)
	}
	return s, nil
}

// given changes the files that are used while there is no pair.
func (s *store) given(certFile, keyFile string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.certFile, s.keyFile = certFile, keyFile
}

// path is the link to the newest pair.
func (s *store) path() string { return filepath.Join(s.dir, s.prefix+"-current.pem") }

// Current implements certificate.Store: the pair that a Manager begins with.
func (s *store) Current() (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deny {
		return nil, noPair("the API server does not accept the certificate that is there")
	}
	newest, err := readPair(s.path(), s.path())
	if err == nil && current(newest.Leaf, time.Now()) {
		return newest, nil
	}
	base := filepath.Join(s.dir, s.prefix)
	for _, files := range [][2]string{{s.certFile, s.keyFile}, {base + ".crt", base + ".key"}} {
		if given, err := readPair(files[0], files[1]); err == nil && current(given.Leaf, time.Now()) {
			return given, nil
		}
	}
	if err != nil {
		if !gone(err) {
			s.log.Warn("a certificate of the node cannot be read and counts as missing; another is asked for if that is possible",
				zap.String("file", s.path()), zap.Error(err))
		}
		return nil, noPair(err.Error())
	}
	return newest, nil
}

func noPair(why string) error {
	err := certificate.NoCertKeyError(why)
	return &err
}

// Update implements certificate.Store: it makes a pair the newest.
func (s *store) Update(cert, key []byte) (*tls.Certificate, error) {
	pair, err := s.update(cert, key)
	if err == nil && s.notify != nil {
		s.notify()
	}
	return pair, err
}

func (s *store) update(cert, key []byte) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := parsePair(cert, key); err != nil {
		return nil, fmt.Errorf("the new certificate does not fit its key: %w", err)
	}
	if err := s.clear(); err != nil {
		return nil, err
	}
	s.awaitName()
	pair, err := s.files.Update(cert, key)
	if err != nil {
		return nil, fmt.Errorf("storing a certificate in %s (--cert-dir): %w", s.dir, err)
	}
	if err := syncDir(s.dir); err != nil {
		return nil, fmt.Errorf("storing a certificate in %s (--cert-dir): %w", s.dir, err)
	}
	s.last, s.deny = pair, false
	return pair, nil
}

// awaitName waits for a second of which there is no pair yet: the library would
// write over it, and it may be the current one.
func (s *store) awaitName() {
	for range 3 {
		now := time.Now()
		if _, err := os.Lstat(filepath.Join(s.dir, s.prefix+"-"+now.Format(stamp)+".pem")); gone(err) {
			return
		}
		time.Sleep(now.Truncate(time.Second).Add(time.Second).Sub(now))
	}
}

// stored returns the newest pair on the disk. foreign is true once for each that
// somebody else than Update has put there. With an error, which is nil if there
// never was a pair, it is the last one that could be read.
func (s *store) stored() (pair *tls.Certificate, foreign bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pair, err = readPair(s.path(), s.path())
	if err != nil {
		if s.last == nil && gone(err) {
			err = nil
		}
		return s.last, false, err
	}
	foreign = !same(pair, s.last)
	s.last = pair
	return pair, foreign, nil
}

// refuse makes Current have nothing until a new pair has been stored.
func (s *store) refuse(yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deny = yes
}

// clear makes room for the two links.
func (s *store) clear() error {
	updated := filepath.Join(s.dir, s.prefix+"-updated.pem")
	if info, err := os.Lstat(updated); err == nil && info.Mode().Type() != os.ModeSymlink {
		if err := os.Rename(updated, updated+aside); err != nil {
			return fmt.Errorf("putting %s aside, where a link has to be: %w", updated, err)
		}
	}
	info, err := os.Lstat(s.path())
	switch {
	case gone(err):
		return nil
	case err != nil:
		return fmt.Errorf("looking at the node's certificate: %w; the agent has to be able to read %s (--cert-dir)", err, s.dir)
	case info.Mode().Type() == os.ModeSymlink:
		return nil
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is neither a file nor a link (%v); remove it", s.path(), info.Mode().Type())
	}
	if err := s.adopt(info.ModTime(), updated); err != nil {
		return fmt.Errorf("making a link of %s, which is a file: %w", s.path(), err)
	}
	return nil
}

// adopt gives a file that was put in the link's place a name of its own.
// Whenever that is interrupted, the pair is there.
func (s *store) adopt(changed time.Time, updated string) error {
	name := ""
	for n := range 100 {
		name = filepath.Join(s.dir, s.prefix+"-"+changed.Add(time.Duration(n)*time.Second).Format(stamp)+".pem")
		err := os.Link(s.path(), name)
		if err == nil {
			break
		}
		if !errors.Is(err, os.ErrExist) {
			return err
		}
		name = ""
	}
	if name == "" {
		return errors.New("every name for it is taken")
	}
	if err := os.Remove(updated); err != nil && !gone(err) {
		return err
	}
	target, err := filepath.Abs(name)
	if err != nil {
		return err
	}
	if err := os.Symlink(target, updated); err != nil {
		return err
	}
	return os.Rename(updated, s.path())
}
