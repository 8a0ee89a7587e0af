package pullrecord

import (
	"errors"
	"io/fs"

	"go.uber.org/zap"

	"nodeagent.dev/nodeagent/internal/image"
)

// MustPull implements [image.Records].
func (s *Store) MustPull(name, ref string, credentials func() ([]image.Credential, error)) (bool, error) {
	if !s.policy.verify(name, func() bool { return s.ours(name, ref) }) {
		return false, nil
	}
	repo, err := repository(name)
	if err != nil {
		return true, nil //nolint:nilerr // the pull tells
	}
	r, err := s.files.record(ref)
	if err != nil {
		s.garbage(ref, err)
		return true, nil
	}
	have := r.CredentialMapping[repo]
	if v := forAll(have); v != unknown {
		return v == mayNot, nil
	}
	list, err := credentials()
	if err != nil {
		return true, err
	}
	by, known, ok := matching(have, list)
	if ok && !known {
		s.Add(name, ref, by)
	}
	return !ok, nil
}

// ours reports whether this node's agent has pulled an image that is there, or
// may have. The order matters, see the package comment.
func (s *Store) ours(name, ref string) bool {
	if _, err := s.files.read(pullingDir, fileName(name)); !errors.Is(err, fs.ErrNotExist) {
		return true
	}
	_, err := s.files.record(ref)
	if err != nil {
		s.garbage(ref, err)
	}
	return !errors.Is(err, fs.ErrNotExist)
}

func (s *Store) garbage(ref string, err error) {
	if !errors.Is(err, fs.ErrNotExist) {
		s.log.Info("A record of a pulled image cannot be read, pods have to show that they may have it",
			zap.String("ref", ref), zap.Error(err))
	}
}
