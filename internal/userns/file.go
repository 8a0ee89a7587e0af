package userns

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"k8s.io/apimachinery/pkg/types"

	"nodeagent.dev/nodeagent/internal/safedir"
)

const (
	fileName = "userns"
	fileMode = 0o600
	// maxFile is more than any valid file has, in bytes.
	maxFile = 4096
)

// errNotValid tells that a file is not what we or a kubelet would write.
var errNotValid = errors.New("delete the pod, or the file if none of its containers runs")

// mappings and mapping are the kubelet's file. The order of the fields is the file's.
type mappings struct {
	UIDs []mapping `json:"uidMappings"`
	GIDs []mapping `json:"gidMappings"`
}

type mapping struct {
	Host      uint32 `json:"hostId"`
	Container uint32 `json:"containerId"`
	Length    uint32 `json:"length"`
}

// encode returns the file for a range.
func encode(r Range) ([]byte, error) {
	m := []mapping{{Host: r.First, Length: r.Length}}
	return json.Marshal(mappings{UIDs: m, GIDs: m})
}

// decode returns the range that a file tells. An empty file is that of a pod without
// one. The error says what is wrong; a range beside it is what IDs the file means.
func decode(data []byte) (Range, error) {
	if len(data) == 0 {
		return Range{}, nil
	}
	var m mappings
	if err := json.Unmarshal(data, &m); err != nil {
		return Range{}, fmt.Errorf("it is no JSON of mappings: %w", err)
	}
	if len(m.UIDs) != 1 || len(m.GIDs) != 1 {
		return Range{}, fmt.Errorf("it has %d mappings of users and %d of groups, and there has to be one of each", len(m.UIDs), len(m.GIDs))
	}
	r := Range{First: m.UIDs[0].Host, Length: m.UIDs[0].Length}
	switch {
	case m.UIDs[0] != m.GIDs[0]:
		return Range{}, errors.New("users and groups are mapped differently")
	case m.UIDs[0].Container != 0:
		return r, fmt.Errorf("the first user of the pod is mapped as %d, and has to be 0", m.UIDs[0].Container)
	case r.Length == 0 || r.end() > allIDs:
		return Range{}, fmt.Errorf("%d IDs beginning with %d do not exist", r.Length, r.First)
	case r.First < unit:
		return Range{}, fmt.Errorf("IDs %s are the node's own", r)
	}
	return r, nil
}

// read returns what a pod's file says; nothing if there is none. An error is
// errNotValid, unless it is the disk's.
func (r *Ranges) read(uid types.UID) (Range, error) {
	dir, err := safedir.Open(r.root, podsDir, string(uid))
	if errors.Is(err, fs.ErrNotExist) {
		return Range{}, nil
	}
	if err != nil {
		return Range{}, r.judge(uid, err)
	}
	defer dir.Close()
	data, err := dir.Read(fileName, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return Range{}, nil
	}
	if err != nil {
		return Range{}, r.judge(uid, err)
	}
	found, err := decode(data)
	if err != nil {
		return found, r.invalid(uid, err)
	}
	return found, nil
}

// judge tells an error about what lies on the disk from one of reading it.
func (r *Ranges) judge(uid types.UID, err error) error {
	if errors.Is(err, safedir.ErrNotPlain) || errors.Is(err, safedir.ErrTooLong) {
		return r.invalid(uid, err)
	}
	return fmt.Errorf("read pods/%s/%s below %s: %w", uid, fileName, r.root, err)
}

func (r *Ranges) invalid(uid types.UID, err error) error {
	return fmt.Errorf("the file pods/%s/%s below %s is not valid: %w; %w", uid, fileName, r.root, err, errNotValid)
}

// write writes a pod's file, as the kubelet does: in one step, and durably.
func (r *Ranges) write(uid types.UID, which Range) error {
	data, err := encode(which)
	if err != nil {
		return err
	}
	dir, err := safedir.Make(r.root, dirMode, podsDir, string(uid))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Write(fileName, data, fileMode)
}

// remove removes a pod's file; it is fine if there is none.
func (r *Ranges) remove(uid types.UID) error {
	dir, err := safedir.Open(r.root, podsDir, string(uid))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Remove(fileName)
}
