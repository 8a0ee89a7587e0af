package containerspec

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// fileValue resolves fileKeyRef. Not ok without an error: the key is optional,
// and it is not in the file or has the empty value. The file has to be there
// even then, as with the kubelet, which does not tell users what is wrong with
// it; the cause is in the failure for those who log it.
func fileValue(req *pod.ContainerRequest, ref *corev1.FileKeySelector) (value string, ok bool, err error) {
	volume, there := req.Volumes[ref.VolumeName]
	if !there || req.Environment.Files == nil {
		return "", false, configFailure("cannot find the volume %q referenced by FileKeyRef", ref.VolumeName)
	}
	content, err := req.Environment.Files(ref.VolumeName, ref.Path)
	if err == nil {
		value, err = fileVariable(content, ref.Key)
	}
	switch {
	case err != nil:
		return "", false, &pod.Failure{
			Reason: pod.ReasonContainerConfig, Message: "couldn't parse env file",
			Err: fmt.Errorf("read variable %q from %q of volume %q: %w", ref.Key, ref.Path, ref.VolumeName, err),
		}
	case value != "":
		return value, true, nil
	case isTrue(ref.Optional):
		return "", false, nil
	}
	// The path ends below the volume, whatever it says.
	file := path.Join(volume.HostPath, path.Join("/", ref.Path))
	return "", false, configFailure("environment variable key %q not found in file %q", ref.Key, file)
}

// fileVariable reads one variable from a file of lines NAME='value', of which
// a shell would read the same. A value has all between the single quotes, new
// lines too, and only blanks or a comment may follow it. Blank lines and lines
// that begin with # are skipped. NAME= with a blank after it is the empty value.
//
// The first variable of the name counts, and what follows it is not looked at.
// Empty: there is none. Errors name lines, never values. A line may have 64 KiB,
// and a CR at its end is not part of it.
func fileVariable(content []byte, key string) (string, error) {
	f := envFile{Scanner: bufio.NewScanner(bytes.NewReader(content))}
	for f.next() {
		line := trimBlanks(f.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, assigns := strings.Cut(line, "=")
		value := ""
		switch {
		case !assigns:
			return "", f.wrong("there is no '='")
		case name == "":
			return "", f.wrong("there is no name before '='")
		case strings.HasSuffix(name, " ") || strings.HasSuffix(name, "\t"):
			return "", f.wrong("a blank before '=' is not allowed")
		case strings.HasPrefix(rest, " ") || strings.HasPrefix(rest, "\t"):
		case !strings.HasPrefix(rest, "'"):
			return "", f.wrong("the value has to be in single quotes")
		default:
			var err error
			if value, err = f.quoted(rest[1:]); err != nil {
				return "", err
			}
		}
		if name == key {
			return value, nil
		}
	}
	if err := f.Err(); err != nil {
		return "", fmt.Errorf("after line %d: %w", f.line, err)
	}
	return "", nil
}

// envFile counts lines.
type envFile struct {
	*bufio.Scanner
	line int
}

func (f *envFile) next() bool {
	if !f.Scan() {
		return false
	}
	f.line++
	return true
}

func (f *envFile) wrong(what string) error {
	return fmt.Errorf("line %d: %s", f.line, what)
}

// quoted reads on to the closing quote; rest is what follows the opening one on
// its line.
func (f *envFile) quoted(rest string) (string, error) {
	var value strings.Builder
	for first := f.line; ; {
		part, after, closed := strings.Cut(rest, "'")
		value.WriteString(part)
		if closed {
			if after = trimBlanks(after); after != "" && after[0] != '#' {
				return "", f.wrong("only a comment may follow the closing quote")
			}
			return value.String(), nil
		}
		value.WriteByte('\n')
		if !f.next() {
			return "", errors.Join(fmt.Errorf("line %d: the quote is not closed", first), f.Err())
		}
		rest = f.Text()
	}
}

func trimBlanks(s string) string { return strings.TrimLeft(s, " \t") }
