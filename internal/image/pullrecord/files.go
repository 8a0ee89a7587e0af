package pullrecord

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
)

// Where the kubelet keeps its records, below the root directory.
const (
	pullingDir = "image_manager/pulling"
	pulledDir  = "image_manager/pulled"

	prefix    = "sha256-"
	tmpSuffix = ".tmp"

	// maxSize is more than any record has, in bytes.
	maxSize = 1 << 20
)

const (
	apiVersion  = "kubelet.config.k8s.io/v1beta1"
	oldVersion  = "kubelet.config.k8s.io/v1alpha1" // the same fields
	kindIntent  = "ImagePullIntent"
	kindRecord  = "ImagePulledRecord"
	dirMode     = 0o700
	fileMode    = 0o600
	notDecoding = "image pull record: %w"
)

func fileName(of string) string { return fmt.Sprintf("%s%x", prefix, sha256.Sum256([]byte(of))) }

// files are the records below a root directory.
type files struct{ root *os.Root }

// read returns the content of a file; a missing one is fs.ErrNotExist.
func (f files) read(dir, name string) ([]byte, error) {
	file, err := f.root.Open(path.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("open a record of pulled images: %w", err)
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", file.Name(), err)
	case len(content) > maxSize:
		return nil, fmt.Errorf("read %s: it has more than %d bytes", file.Name(), maxSize)
	}
	return content, nil
}

// write puts a file in place, whole, also when the machine stops meanwhile.
func (f files) write(dir, name string, object any) error {
	var content bytes.Buffer
	if err := json.NewEncoder(&content).Encode(object); err != nil {
		return fmt.Errorf("encode a record of pulled images: %w", err)
	}
	// Somebody may have removed the folder to be rid of all records.
	if err := f.root.MkdirAll(dir, dirMode); err != nil {
		return fmt.Errorf("make the folder for records of pulled images: %w", err)
	}
	target := path.Join(dir, name)
	if err := f.writeSynced(target+tmpSuffix, content.Bytes()); err != nil {
		return errors.Join(err, f.remove(dir, name+tmpSuffix))
	}
	if err := f.root.Rename(target+tmpSuffix, target); err != nil {
		return errors.Join(fmt.Errorf("put a record of pulled images in place: %w", err), f.remove(dir, name+tmpSuffix))
	}
	return f.sync(dir)
}

func (f files) writeSynced(target string, content []byte) (err error) {
	file, err := f.root.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return fmt.Errorf("make a record of pulled images: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := file.Write(content); err != nil {
		return fmt.Errorf("write a record of pulled images: %w", err)
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("write a record of pulled images to the disk: %w", err)
	}
	return nil
}

func (f files) sync(dir string) error {
	d, err := f.root.Open(dir)
	if err != nil {
		return fmt.Errorf("open the folder of records of pulled images: %w", err)
	}
	defer func() { _ = d.Close() }()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("write the folder of records of pulled images to the disk: %w", err)
	}
	return nil
}

// remove removes a file; none is fine.
func (f files) remove(dir, name string) error {
	if err := f.root.Remove(path.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove a record of pulled images: %w", err)
	}
	return nil
}

// entry is a file of a folder.
type entry struct {
	name     string
	modified time.Time
}

// leftover reports whether it is the rest of a write that was cut off.
func (e entry) leftover() bool { return strings.HasSuffix(e.name, tmpSuffix) }

// list returns the files that are ours.
func (f files) list(dir string) ([]entry, error) {
	all, err := fs.ReadDir(f.root.FS(), dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the records of pulled images: %w", err)
	}
	var list []entry
	for _, e := range all {
		if !e.Type().IsRegular() || !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue // gone meanwhile
		}
		list = append(list, entry{name: e.Name(), modified: info.ModTime()})
	}
	return list, nil
}

// intent returns the image that a file is about.
func (f files) intent(name string) (string, error) {
	content, err := f.read(pullingDir, name)
	if err != nil {
		return "", err
	}
	return decodeIntent(content)
}

// record returns what is known of an image that was pulled. A file about another
// image is garbage.
func (f files) record(ref string) (*kubeletv1beta1.ImagePulledRecord, error) {
	content, err := f.read(pulledDir, fileName(ref))
	if err != nil {
		return nil, err
	}
	r, err := decodeRecord(content)
	if err != nil {
		return nil, err
	}
	if r.ImageRef != ref {
		return nil, fmt.Errorf("the record of image %q is about image %q", ref, r.ImageRef)
	}
	return r, nil
}

func decodeIntent(content []byte) (string, error) {
	var i kubeletv1beta1.ImagePullIntent
	if err := decode(content, &i); err != nil {
		return "", err
	}
	return i.Image, checkType(i.TypeMeta, kindIntent)
}

func decodeRecord(content []byte) (*kubeletv1beta1.ImagePulledRecord, error) {
	var r kubeletv1beta1.ImagePulledRecord
	if err := decode(content, &r); err != nil {
		return nil, err
	}
	return &r, checkType(r.TypeMeta, kindRecord)
}

// decode is strict, as the kubelet is: what is not understood might forbid.
func decode(content []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(content))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf(notDecoding, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf(notDecoding, errors.New("more follows its end"))
	}
	return nil
}

func checkType(t metav1.TypeMeta, kind string) error {
	if t.Kind != kind || t.APIVersion != apiVersion && t.APIVersion != oldVersion {
		return fmt.Errorf(notDecoding, fmt.Errorf("it is a %s of %s", t.Kind, t.APIVersion))
	}
	return nil
}
