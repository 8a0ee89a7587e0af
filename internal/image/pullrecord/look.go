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
		s.checked("credentialPolicyAllowed")
		return false, nil
	}
	must, err := s.mustShow(name, ref, credentials)
	switch {
	case err != nil:
		s.checked("error")
	case must:
		s.checked("mustAuthenticate")
	default:
		s.checked("credentialRecordFound")
	}
	return must, err
}

// mustShow reports whether a pod has to pull an image that is verified.
func (s *Store) mustShow(name, ref string, credentials func() ([]image.Credential, error)) (bool, error) {
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

// Sizes counts what is on the disk: pulls that were begun, and images that were
// pulled.
func (s *Store) Sizes() (intents, records int) {
	begun, err := s.files.list(pullingDir)
	if err != nil {
		s.log.Debug("the intents of pulls cannot be counted", zap.Error(err))
	}
	pulled, err := s.files.list(pulledDir)
	if err != nil {
		s.log.Debug("the records of pulled images cannot be counted", zap.Error(err))
	}
	return len(begun), len(pulled)
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
