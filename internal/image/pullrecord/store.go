package pullrecord

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"

	"nodeagent.dev/nodeagent/internal/image"
)

// Config says where the records are and what they are for.
type Config struct {
	// RootDir is the agent's root directory.
	RootDir string
	// Policy is imagePullCredentialsVerificationPolicy, Allowlist is
	// preloadedImagesVerificationAllowlist.
	Policy    string
	Allowlist []string
	// Checked, if set, hears of each question whether an image has to be pulled to
	// see whether a pod may have it: credentialPolicyAllowed, credentialRecordFound,
	// mustAuthenticate or error.
	Checked func(result string)
}

// Store is the records of one node. It is safe for concurrent use.
type Store struct {
	policy policy
	files  files
	log    *zap.Logger
	// checked is Config.Checked.
	checked func(result string)

	records sync.Mutex // held while a record is changed

	intents sync.Mutex // held while an intent is changed; guards what follows
	pulls   map[string]*pull
}

// pull is what is known of the pulls of an image, as pods name it.
type pull struct {
	running int
	// doubt says that a pull may have left the image without a record.
	doubt bool
}

var _ image.Records = (*Store)(nil)

// New opens the records and makes their folders.
func New(cfg Config, log *zap.Logger) (*Store, error) {
	p, err := newPolicy(cfg.Policy, cfg.Allowlist)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(cfg.RootDir)
	if err != nil {
		return nil, fmt.Errorf("open the root directory for records of pulled images: %w", err)
	}
	s := &Store{policy: p, files: files{root}, log: log, pulls: map[string]*pull{}, checked: cfg.Checked}
	if s.checked == nil {
		s.checked = func(string) {}
	}
	for _, dir := range []string{pullingDir, pulledDir} {
		if err := root.MkdirAll(dir, dirMode); err != nil {
			return nil, errors.Join(fmt.Errorf("make the folder for records of pulled images: %w", err), root.Close())
		}
	}
	return s, nil
}

// Close ends the use of the folder.
func (s *Store) Close() error {
	if err := s.files.root.Close(); err != nil {
		return fmt.Errorf("close the records of pulled images: %w", err)
	}
	return nil
}

// Begin implements [image.Records].
func (s *Store) Begin(name string) error {
	s.intents.Lock()
	defer s.intents.Unlock()
	p := s.pulls[name]
	if p == nil {
		p = &pull{}
		// An intent that is there is of a pull whose end nobody knows.
		if _, err := s.files.read(pullingDir, fileName(name)); !errors.Is(err, fs.ErrNotExist) {
			p.doubt = true
		}
	}
	if p.running == 0 {
		intent := &kubeletv1beta1.ImagePullIntent{TypeMeta: metav1.TypeMeta{Kind: kindIntent, APIVersion: apiVersion}, Image: name}
		if err := s.files.write(pullingDir, fileName(name), intent); err != nil {
			return err
		}
	}
	p.running++
	s.pulls[name] = p
	return nil
}

// End implements [image.Records]. What cannot be written is logged: the intent
// stays, and pods have to show that they may have the image.
func (s *Store) End(name string, o image.Outcome) {
	recorded := false
	if o.Ref != "" {
		err := s.note(name, o.Ref, o.By)
		if recorded = err == nil; !recorded {
			s.log.Warn("A pulled image cannot be recorded, pods have to show that they may have it",
				zap.String("image", name), zap.String("ref", o.Ref), zap.Error(err))
		}
	}
	s.intents.Lock()
	defer s.intents.Unlock()
	p := s.pulls[name]
	if p == nil {
		return // not begun
	}
	p.running--
	p.doubt = !recorded && (p.doubt || o.Unsure || o.Ref != "")
	if p.running > 0 {
		return
	}
	if p.doubt {
		delete(s.pulls, name) // the file remembers
		return
	}
	if err := s.files.remove(pullingDir, fileName(name)); err != nil {
		s.log.Warn("The intent of a pull that has ended cannot be removed", zap.String("image", name), zap.Error(err))
	}
	delete(s.pulls, name)
}

// Add implements [image.Records].
func (s *Store) Add(name, ref string, by image.Source) {
	if err := s.note(name, ref, &by); err != nil {
		s.log.Warn("A pod that may have an image cannot be recorded, it has to show so the next time",
			zap.String("image", name), zap.String("ref", ref), zap.Error(err))
	}
}

// note records that an image was pulled and who may have it; nil: nobody without
// showing so.
func (s *Store) note(name, ref string, by *image.Source) error {
	repo, err := repository(name)
	if err != nil {
		return fmt.Errorf("image %q %w", name, err)
	}
	s.records.Lock()
	defer s.records.Unlock()
	r, err := s.files.record(ref)
	fresh := err != nil
	if fresh { // none, or garbage that is of no use to anybody
		r = &kubeletv1beta1.ImagePulledRecord{ImageRef: ref}
		if !errors.Is(err, fs.ErrNotExist) {
			s.log.Info("A record of a pulled image is replaced", zap.String("ref", ref), zap.Error(err))
		}
	}
	if granted := by != nil && grant(r, repo, *by); !granted && !fresh {
		return nil
	}
	r.TypeMeta = metav1.TypeMeta{Kind: kindRecord, APIVersion: apiVersion}
	r.LastUpdatedTime = metav1.NewTime(time.Now())
	return s.files.write(pulledDir, fileName(ref), r)
}
