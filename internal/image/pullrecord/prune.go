package pullrecord

import (
	"errors"
	"io/fs"
	"time"

	"go.uber.org/zap"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Reconcile ends what an agent that has stopped left unfinished: an image whose
// intent is there was pulled, and nobody knows with what. It is called once,
// before the first pull; images are those on the node.
func (s *Store) Reconcile(images []pod.StoredImage) error {
	list, err := s.files.list(pullingDir)
	if err != nil {
		return err
	}
	at := byName(images)
	var errs []error
	for _, e := range list {
		if !e.leftover() {
			errs = append(errs, s.finish(e, at, time.Time{}))
		}
	}
	return errors.Join(errs...)
}

// Prune forgets images that are gone. images are those on the node, asked for at
// asOf or later; what was written since then stays.
func (s *Store) Prune(images []pod.StoredImage, asOf time.Time) error {
	intents, err := s.files.list(pullingDir)
	if err != nil {
		return err
	}
	at := byName(images)
	var errs []error
	for _, e := range intents {
		errs = append(errs, s.finish(e, at, asOf))
	}
	known := map[string]bool{}
	for _, i := range images {
		known[fileName(i.ID)] = true
		for _, name := range i.Names { // some runtimes make containers from digests
			known[fileName(name)] = true
		}
	}
	s.records.Lock()
	defer s.records.Unlock()
	records, err := s.files.list(pulledDir)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, e := range records {
		if !known[e.name] && e.old(asOf) {
			errs = append(errs, s.files.remove(pulledDir, e.name))
		}
	}
	return errors.Join(errs...)
}

// byName finds the ID of an image by its full name.
func byName(images []pod.StoredImage) map[string]string {
	at := map[string]string{}
	for _, i := range images {
		for _, name := range i.Names {
			at[full(name)] = i.ID
		}
	}
	return at
}

// finish makes a record of an intent that no pull of ours has. One without an
// image goes if it is older than asOf: until then the runtime may still be at it.
func (s *Store) finish(e entry, at map[string]string, asOf time.Time) error {
	s.intents.Lock()
	defer s.intents.Unlock()
	if e.leftover() {
		return s.removeOld(e, asOf)
	}
	name, err := s.files.intent(e.name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // its pull has ended
	case err != nil:
		s.log.Info("An intent of a pull cannot be read", zap.String("file", e.name), zap.Error(err))
		return s.removeOld(e, asOf)
	case s.pulls[name] != nil:
		return nil
	}
	ref, there := at[full(name)]
	if !there {
		return s.removeOld(e, asOf)
	}
	if err := s.note(name, ref, nil); err != nil {
		return err
	}
	return s.files.remove(pullingDir, e.name)
}

func (s *Store) removeOld(e entry, asOf time.Time) error {
	if !e.old(asOf) {
		return nil
	}
	return s.files.remove(pullingDir, e.name)
}

// old reports whether a file was last changed before asOf. Two files in the same
// tick of a coarse clock count as changed at once.
func (e entry) old(asOf time.Time) bool { return e.modified.Add(time.Second).Before(asOf) }
