package gitrepo

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"
)

// source is what a volume asks for.
type source struct {
	repository string
	revision   string
	directory  string
	// url is the repository's, without a slash at the end, once located.
	url *url.URL
	// target is where in the volume the working tree goes, "." for the volume itself.
	target string
}

// parse applies the checks that the kubelet makes of the volume, in its words and
// whether or not such volumes are enabled.
func parse(v *corev1.GitRepoVolumeSource) (*source, error) {
	for _, arg := range []struct{ name, value string }{
		{"repository", v.Repository}, {"revision", v.Revision}, {"directory", v.Directory},
	} {
		if strings.HasPrefix(arg.value, "-") {
			return nil, fmt.Errorf("%q is an invalid value for %s", arg.value, arg.name)
		}
	}
	if v.Revision != "" && v.Directory != "" && strings.ContainsAny(filepath.Clean(v.Directory), `/\`) {
		return nil, fmt.Errorf("%q is not a valid directory, it must not contain a directory separator", v.Directory)
	}
	return &source{repository: v.Repository, revision: v.Revision, directory: v.Directory}, nil
}

// locate checks where the repository is and where it goes.
func (s *source) locate() error {
	u, err := url.Parse(s.repository)
	if err != nil {
		// The error would repeat the URL, and a password in it.
		return errors.New("the repository is no valid URL; give one that begins with https://, http:// or git://")
	}
	switch {
	case u.User != nil:
		return errors.New("the repository's URL names a user; gitRepo volumes have no credentials, so that only public repositories can be cloned: leave the user out")
	case u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "git":
		return fmt.Errorf("repository %q: only URLs that begin with https://, http:// or git:// can be cloned", s.repository)
	case u.Hostname() == "" || u.Opaque != "":
		return fmt.Errorf("repository %q: the URL names no host", s.repository)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return fmt.Errorf("repository %q: a URL with ? or # cannot be cloned", s.repository)
	case strings.ContainsFunc(u.Path+u.Host, unicode.IsControl):
		return fmt.Errorf("repository %q: the URL has control characters in it", s.repository)
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	s.url = u
	return s.aim()
}

// aim finds where in the volume the working tree goes.
func (s *source) aim() error {
	if s.directory == "" {
		name := basename(s.url)
		if name == "" || name == "." || name == ".." || !filepath.IsLocal(name) {
			return fmt.Errorf("repository %q: cannot guess a directory name from the URL; set directory", s.repository)
		}
		s.target = name
		return nil
	}
	if !filepath.IsLocal(s.directory) || slices.Contains(strings.Split(s.directory, "/"), "..") {
		return fmt.Errorf("directory %q is not inside the volume; it must be relative and must not contain '..'", s.directory)
	}
	s.target = filepath.Clean(s.directory)
	return nil
}

// basename is the name of the directory that git clone makes when it is given
// none: the last part of the URL without .git.
func basename(u *url.URL) string {
	path := strings.TrimRight(strings.TrimSuffix(u.EscapedPath(), "/.git"), "/")
	if path == "" {
		return strings.TrimSuffix(u.Hostname(), ".git")
	}
	name := path[strings.LastIndexAny(path, "/:")+1:]
	return strings.TrimSuffix(name, ".git")
}
