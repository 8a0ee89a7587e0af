package gitrepo

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
)

const (
	headRef    = "HEAD"
	headPrefix = "refs/heads/"
	tagPrefix  = "refs/tags/"
	// maxRefs bounds what one asks for: each is a line of the request.
	maxRefs = 50_000
	// maxNames bounds the names of these, maxAdvertised all that a server advertises, in
	// bytes: some have a reference for each change that was ever proposed.
	maxNames      = 4 << 20
	maxAdvertised = 32 << 20
	// sideband: the pack comes in packets, so that the server can say why it fails.
	sideband = "side-band-64k"
	// ofsDelta: packs say where an object's base is, not only what it is.
	ofsDelta = "ofs-delta"
)

// errProtocol stands for whatever a server says that is not git: its words are not
// repeated, for the server may be one that the pod's author cannot ask.
var errProtocol = errors.New("the server's answer is not git's protocol")

// advertisement is what a server says of its repository.
type advertisement struct {
	// refs are branches and tags, by full name, and HEAD.
	refs map[string]plumbing.Hash
	// head is the branch that HEAD names, if the server says so.
	head string
	// shallow are the commits whose parents the server does not have.
	shallow []plumbing.Hash
	can     map[string]bool
	// names is how long all names are together.
	names int
}

// readAdvertisement reads the references. http: they have a title.
func readAdvertisement(r io.Reader, http bool) (*advertisement, error) {
	bound := &budget{limit: maxAdvertised, left: maxAdvertised}
	lines := pktline.NewScanner(bufio.NewReader(bound.reader(r)))
	adv := &advertisement{refs: map[string]plumbing.Hash{}, can: map[string]bool{}}
	if http {
		if !lines.Scan() || !bytes.HasPrefix(lines.Bytes(), []byte("# service="+service)) {
			return nil, whatServerSays(lines)
		}
		if !lines.Scan() || len(lines.Bytes()) > 0 {
			return nil, whatServerSays(lines)
		}
	}
	for first := true; ; first = false {
		if !lines.Scan() {
			return nil, whatServerSays(lines)
		}
		line := lines.Bytes()
		if len(line) == 0 {
			return adv, nil
		}
		if first {
			var capabilities []byte
			line, capabilities, _ = bytes.Cut(line, []byte{0})
			if err := adv.capabilities(string(capabilities)); err != nil {
				return nil, err
			}
		}
		if err := adv.line(strings.TrimSuffix(string(line), "\n")); err != nil {
			return nil, err
		}
	}
}

func (a *advertisement) capabilities(list string) error {
	for word := range strings.FieldsSeq(list) {
		name, value, _ := strings.Cut(word, "=")
		a.can[name] = true
		switch name {
		case "symref":
			if from, to, _ := strings.Cut(value, ":"); from == headRef && strings.HasPrefix(to, headPrefix) && validRef(to) {
				a.head = to
			}
		case "object-format":
			if value != "sha1" {
				return fmt.Errorf("the repository's objects are named by %q; only sha1 is supported", value)
			}
		}
	}
	return nil
}

func (a *advertisement) line(line string) error {
	hash, name, ok := strings.Cut(line, " ")
	if hash == "shallow" {
		h, err := parseHash(name)
		a.shallow = append(a.shallow, h)
		return err
	}
	h, err := parseHash(hash)
	if err != nil || !ok {
		return errProtocol
	}
	if h.IsZero() || strings.HasSuffix(name, "^{}") {
		return nil // an empty repository says what it can in such a line
	}
	wanted := name == headRef || strings.HasPrefix(name, headPrefix) || strings.HasPrefix(name, tagPrefix)
	if !wanted || !validRef(name) {
		return nil
	}
	a.names += len(name)
	if len(a.refs) >= maxRefs || a.names > maxNames {
		return fmt.Errorf("the repository has more than %d branches and tags, or their names are longer than %d bytes, which is the limit", maxRefs, maxNames)
	}
	a.refs[name] = h
	return nil
}

// packRequest asks for all branches and tags; nil when there are none.
func (a *advertisement) packRequest() []byte {
	wants := make([]string, 0, len(a.refs))
	for _, h := range a.refs {
		wants = append(wants, h.String())
	}
	slices.Sort(wants)
	if len(wants) == 0 {
		return nil
	}
	var capabilities strings.Builder
	for _, name := range []string{sideband, ofsDelta, "no-progress"} {
		if a.can[name] {
			capabilities.WriteString(" " + name)
		}
	}
	if a.can["agent"] {
		capabilities.WriteString(" agent=" + strings.ReplaceAll(agent, " ", "-"))
	}
	var body bytes.Buffer
	for i, want := range slices.Compact(wants) {
		if i > 0 {
			capabilities.Reset()
		}
		body.WriteString(packet("want " + want + capabilities.String() + "\n"))
	}
	body.WriteString("0000" + packet("done\n"))
	return body.Bytes()
}

// readPack returns the pack in the answer to a request.
func (a *advertisement) readPack(r io.Reader) (io.Reader, error) {
	buffered := bufio.NewReader(r)
	lines := pktline.NewScanner(buffered)
	if !lines.Scan() {
		return nil, whatServerSays(lines)
	}
	if string(bytes.TrimSpace(lines.Bytes())) != "NAK" {
		return nil, errProtocol
	}
	if !a.can[sideband] {
		return buffered, nil
	}
	return &demultiplexer{lines: lines}, nil
}

// demultiplexer reads the pack out of the packets.
type demultiplexer struct {
	lines *pktline.Scanner
	rest  []byte
	ended bool
}

// Read implements io.Reader.
func (d *demultiplexer) Read(b []byte) (int, error) {
	for len(d.rest) == 0 {
		if d.ended {
			return 0, io.EOF
		}
		if !d.lines.Scan() {
			return 0, whatServerSays(d.lines)
		}
		line := d.lines.Bytes()
		switch {
		case len(line) == 0:
			d.ended = true
		case line[0] == 1:
			d.rest = line[1:]
		case line[0] == 2: // progress
		case line[0] == 3:
			return 0, fmt.Errorf("the server says: %s", printable(string(line[1:])))
		default:
			return 0, errProtocol
		}
	}
	n := copy(b, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

// whatServerSays is why there is no line: the server's own error, the network's,
// or that what came is no line.
func whatServerSays(lines *pktline.Scanner) error {
	err := lines.Err()
	if said, ok := errors.AsType[*pktline.ErrorLine](err); ok {
		return fmt.Errorf("the server says: %s", printable(said.Text))
	}
	if err == nil || errors.Is(err, pktline.ErrInvalidPktLen) {
		return errProtocol
	}
	return fmt.Errorf("read from the server: %w", err)
}

// printable makes what a server says fit for an event.
func printable(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > 200 {
		s = s[:200] + "..."
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

func packet(payload string) string { return fmt.Sprintf("%04x%s", len(payload)+4, payload) }

func parseHash(s string) (h plumbing.Hash, err error) {
	if len(s) != hex.EncodedLen(len(h)) {
		return h, errProtocol
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil {
		return h, errProtocol
	}
	return h, nil
}

// validRef reports whether a name can be a reference's, by the rules of
// git-check-ref-format. It becomes part of files.
func validRef(name string) bool {
	if name == headRef {
		return true
	}
	if len(name) > 1024 || strings.Contains(name, "..") || strings.Contains(name, "@{") || strings.HasSuffix(name, ".") {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part[0] == '.' || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return unicode.IsControl(r) || strings.ContainsRune(" ~^:?*[\\\x7f", r)
	})
}
