package userns

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
)

const (
	// owner is whose subordinate IDs are for pods (Kubernetes documentation, "Use a
	// User Namespace With a Pod").
	owner = "kubelet"
	tool  = "getsubids"
)

// getsubids asks the machine for the IDs of user "kubelet". There are none where the
// user or the tool does not exist. Where both do, no answer is an error: the IDs may
// come from a server that is away, and others than those would be somebody else's.
func getsubids(ctx context.Context) (Range, bool, error) {
	if _, err := user.Lookup(owner); err != nil {
		if _, unknown := errors.AsType[user.UnknownUserError](err); unknown {
			return Range{}, false, nil
		}
		return Range{}, false, fmt.Errorf("look up user %q: %w", owner, err)
	}
	path, err := exec.LookPath(tool)
	if errors.Is(err, exec.ErrNotFound) {
		return Range{}, false, nil
	}
	if err != nil {
		return Range{}, false, fmt.Errorf("look for %s: %w", tool, err)
	}
	return askTool(ctx, path)
}

// askTool asks for the users and the groups, which have to be the same.
func askTool(ctx context.Context, path string) (Range, bool, error) {
	var answers [2]string
	for i, args := range [][]string{{owner}, {"-g", owner}} {
		out, err := exec.CommandContext(ctx, path, args...).Output()
		if err != nil {
			if failed, is := errors.AsType[*exec.ExitError](err); is && len(failed.Stderr) > 0 {
				err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(failed.Stderr)))
			}
			return Range{}, false, fmt.Errorf("run %s %s: %w; give the user subordinate IDs, or remove the user", tool, strings.Join(args, " "), err)
		}
		answers[i] = string(out)
	}
	if answers[0] != answers[1] {
		return Range{}, false, fmt.Errorf("%s has other users (%q) than groups (%q) for %q; make /etc/subuid and /etc/subgid say the same", tool, answers[0], answers[1], owner)
	}
	r, err := parseSubids(answers[0])
	return r, err == nil, err
}

// parseSubids reads the tool's answer: "0: kubelet 65536 2147483648".
func parseSubids(text string) (Range, error) {
	lines := strings.Split(strings.Trim(text, "\n"), "\n")
	words := strings.Fields(lines[0])
	if len(lines) != 1 || len(words) != 4 {
		return Range{}, fmt.Errorf("%s says %q; it has to be one range, as in \"0: %s 65536 2147483648\"", tool, text, owner)
	}
	first, err1 := strconv.ParseUint(words[2], 10, 32)
	length, err2 := strconv.ParseUint(words[3], 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return Range{}, fmt.Errorf("%s says %q: %w", tool, text, err)
	}
	return Range{First: uint32(first), Length: uint32(length)}, nil
}

// defaultRange are all IDs but those before the second pod's, as many as are a
// multiple of length.
func defaultRange(length uint32) Range {
	n := uint64(allIDs)/uint64(length) - 1
	return Range{First: length, Length: uint32(n * uint64(length))}
}

// slotsOf are the numbers of those parts of all, each of some length, that have IDs of
// r.
func slotsOf(r, all Range, length uint32) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		if !r.overlaps(all) {
			return
		}
		from := (max(uint64(r.First), uint64(all.First)) - uint64(all.First)) / uint64(length)
		last := (min(r.end(), all.end()) - 1 - uint64(all.First)) / uint64(length)
		for slot := from; slot <= last; slot++ {
			if !yield(uint32(slot)) {
				return
			}
		}
	}
}

// random returns a number below n.
func random(n uint32) uint32 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return uint32(binary.NativeEndian.Uint64(b[:]) % uint64(n))
}
