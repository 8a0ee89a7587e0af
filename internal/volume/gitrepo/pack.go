package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

const (
	// cacheBytes is for objects that others are made from.
	cacheBytes = 32 << 20
	// deltaHead is how long the two sizes at the beginning of a delta can be.
	deltaHead = 20
	none      = -1
)

// packed is a pack on the disk. What it says of itself is not believed: sizes are
// looked at before memory is taken, and objects are called what they hash to. Its
// methods end with the context it was opened with, as its file then fails. It is for
// one goroutine.
type packed struct {
	file    *packFile
	scanner *packfile.Scanner
	limits  Limits
	sum     plumbing.Hash
	objects []object
	byName  map[plumbing.Hash]int
	cache   *cache.BufferLRU
}

// object is one of a pack: whole, or a delta that makes it from another.
type object struct {
	name   plumbing.Hash
	offset int64
	crc    uint32
	kind   plumbing.ObjectType // of the delta's result; 0 as long as it is not known
	base   int                 // what the delta is of; none: it is whole
}

// packFile is a file that can no longer be read once its time is over.
type packFile struct {
	*os.File
	alive func() error
}

// Read implements io.Reader.
func (f *packFile) Read(b []byte) (int, error) {
	if err := f.alive(); err != nil {
		return 0, err
	}
	return f.File.Read(b)
}

// openPack checks a pack that has been received, and finds out what is in it.
func openPack(ctx context.Context, f *os.File, limits Limits) (p *packed, err error) {
	// What parses a stranger's bytes may be wrong about them.
	defer func() {
		if r := recover(); r != nil {
			p, err = nil, fmt.Errorf("the pack is damaged: %v", r)
		}
	}()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	file := &packFile{f, ctx.Err}
	p = &packed{
		file: file, scanner: packfile.NewScanner(file), limits: limits,
		byName: map[plumbing.Hash]int{}, cache: cache.NewBufferLRU(cacheBytes),
	}
	deltas, err := p.survey()
	if err == nil {
		err = p.resolve(deltas)
	}
	if err != nil {
		return nil, fmt.Errorf("read the pack: %w", err)
	}
	return p, nil
}

// deltas are those that wait for what they are made from, by its place or its name.
type deltas struct {
	byPlace map[int][]int
	byName  map[plumbing.Hash][]int
	count   int
}

// survey reads the pack once from its beginning to its end, and refuses what would
// take more memory or time to unpack than the limits say.
func (p *packed) survey() (*deltas, error) {
	_, count, err := p.scanner.Header()
	if err != nil {
		return nil, err
	}
	if int64(count) > int64(p.limits.Objects) {
		return nil, fmt.Errorf("the repository has %d objects, more than the limit, %d", count, p.limits.Objects)
	}
	waiting := &deltas{byPlace: map[int][]int{}, byName: map[plumbing.Hash][]int{}}
	places := map[int64]int{}
	unpacked := int64(0)
	for i := range int(count) {
		h, err := p.scanner.NextObjectHeader()
		if err != nil {
			return nil, err
		}
		places[h.Offset] = i
		size, err := p.surveyOne(h, i, places, waiting)
		if err != nil {
			return nil, err
		}
		if unpacked += size; unpacked > p.limits.Unpacked {
			return nil, fmt.Errorf("the repository's objects are larger than %d bytes together, which is the limit", p.limits.Unpacked)
		}
	}
	if p.sum, err = p.scanner.Checksum(); err != nil {
		return nil, err
	}
	return waiting, p.endsWithSum()
}

// surveyOne notes one object and returns how much there is to unpack of it.
func (p *packed) surveyOne(h *packfile.ObjectHeader, i int, places map[int64]int, waiting *deltas) (int64, error) {
	if h.Length > p.limits.Object {
		return 0, p.tooLarge(h.Length)
	}
	o := object{offset: h.Offset, base: none}
	hasher := plumbing.NewHasher(h.Type, h.Length)
	var head prefix
	n, crc, err := p.scanner.NextObject(io.MultiWriter(&head, hasher))
	if err != nil {
		return 0, err
	}
	if n != h.Length {
		return 0, errors.New("an object is shorter than it says")
	}
	o.crc = crc
	size := h.Length
	switch h.Type {
	case plumbing.CommitObject, plumbing.TreeObject, plumbing.BlobObject, plumbing.TagObject:
		o.kind, o.name = h.Type, hasher.Sum()
		p.byName[o.name] = i
	case plumbing.OFSDeltaObject, plumbing.REFDeltaObject:
		target, ok := deltaTarget(head.bytes)
		if !ok || target > p.limits.Object {
			return 0, p.tooLarge(target)
		}
		size += target
		waiting.count++
		if h.Type == plumbing.REFDeltaObject {
			waiting.byName[h.Reference] = append(waiting.byName[h.Reference], i)
			break
		}
		base, ok := places[h.OffsetReference]
		if !ok || base == i {
			return 0, errors.New("an object is made from something that is none")
		}
		waiting.byPlace[base] = append(waiting.byPlace[base], i)
	default:
		return 0, errors.New("an object is of an unknown type")
	}
	p.objects = append(p.objects, o)
	return size, nil
}

// endsWithSum checks that nothing comes after the pack.
func (p *packed) endsWithSum() error {
	var last plumbing.Hash
	size, err := p.file.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = p.file.ReadAt(last[:], size-int64(len(last)))
	}
	if err == nil && last != p.sum {
		err = errors.New("there is more than the pack")
	}
	return err
}

// resolve names all deltas' results. It begins with what is whole, and goes on to
// what is made from it while that is at hand.
func (p *packed) resolve(waiting *deltas) error {
	var todo []int
	for i := range p.objects {
		if p.objects[i].kind != 0 {
			todo = append(todo, i)
		}
	}
	for len(todo) > 0 {
		base := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		name := p.objects[base].name
		children := append(waiting.byPlace[base], waiting.byName[name]...)
		delete(waiting.byPlace, base)
		delete(waiting.byName, name)
		for _, i := range children {
			o := &p.objects[i]
			o.base, o.kind = base, p.objects[base].kind
			content, err := p.content(i)
			if err != nil {
				return err
			}
			o.name = plumbing.ComputeHash(o.kind, content)
			p.byName[o.name] = i
			waiting.count--
		}
		todo = append(todo, children...)
	}
	if waiting.count > 0 {
		return errors.New("an object is made from one that is not there")
	}
	return nil
}

func (p *packed) tooLarge(size int64) error {
	return fmt.Errorf("the repository has an object of %d bytes, more than the limit, %d", size, p.limits.Object)
}

// deltaTarget reads how large a delta's result is, the second number in it.
func deltaTarget(head []byte) (int64, bool) {
	var value int64
	for range 2 {
		value = 0
		for shift := 0; ; shift += 7 {
			if len(head) == 0 || shift > 49 {
				return 0, false
			}
			b := head[0]
			head = head[1:]
			value |= int64(b&0x7f) << shift
			if b&0x80 == 0 {
				break
			}
		}
	}
	return value, true
}

// prefix keeps the first bytes of what is written to it.
type prefix struct{ bytes []byte }

// Write implements io.Writer.
func (p *prefix) Write(b []byte) (int, error) {
	if room := deltaHead - len(p.bytes); room > 0 {
		p.bytes = append(p.bytes, b[:min(room, len(b))]...)
	}
	return len(b), nil
}

// writeIndex writes what git finds objects with.
func (p *packed) writeIndex(w io.Writer) error {
	writer := &idxfile.Writer{}
	if err := writer.OnHeader(uint32(len(p.objects))); err != nil {
		return err
	}
	for i := range p.objects {
		writer.Add(p.objects[i].name, uint64(p.objects[i].offset), p.objects[i].crc)
	}
	if err := writer.OnFooter(p.sum); err != nil {
		return err
	}
	index, err := writer.Index()
	if err == nil {
		_, err = idxfile.NewEncoder(w).Encode(index)
	}
	return err
}
