//go:build e2e

package localapi

import (
	"compress/gzip"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeJournal shows how it was called. It knows of two services.
const fakeJournal = `#!/bin/sh
if [ "$1" = --field ]; then
	printf 'kubelet.service\ncron.service\n'
	exit
fi
for a in "$@"; do printf '<%s>' "$a"; done
echo
`

// TestLogQuery: what kubectl get --raw ".../proxy/logs/?query=..." comes to.
func TestLogQuery(t *testing.T) {
	t.Parallel()
	b := cluster(t)
	c := direct(t, b)
	must(t, "writing a journalctl", os.WriteFile(filepath.Join(b.BinDir, "journalctl"), []byte(fakeJournal), 0o700)) // first in the agent's PATH
	name := "nab-" + b.Name
	for path, text := range map[string]string{name + ".log": "a file\n", name + "-dir/" + name + "-dir.log": "a file in a directory\n"} {
		at := filepath.Join("/var/log", path)
		must(t, "making a directory", os.MkdirAll(filepath.Dir(at), 0o755))
		must(t, "writing a log", os.WriteFile(at, []byte(text), 0o600))
		t.Cleanup(func() { _ = os.Remove(at) })
	}
	t.Cleanup(func() { _ = os.Remove(filepath.Join("/var/log", name+"-dir")) })
	const always = "<--utc><--no-pager><--output=short-precise>"
	for _, q := range []struct {
		query string // after decoding
		code  int
		body  string
	}{
		{"query=kubelet", 200, always + "<--unit=kubelet>\n"},
		{"query=kubelet&query=cron&tailLines=5&boot=-1&pattern=--file=/etc/shadow", 200,
			always + "<--pager-end><--lines=5><--unit=kubelet><--unit=cron><--grep=--file=/etc/shadow><--boot><-1>\n"},
		{"query=kubelet&sinceTime=2026-01-02T03:04:05+02:00&untilTime=2026-11-12T13:14:15Z", 200,
			always + "<--since=2026-1-2 03:4:5><--until=2026-11-12 13:14:15><--unit=kubelet>\n"},
		{"query=bele", 200, "\nlog not found for bele\n"},
		{"query=let", 200, always + "<--unit=let>\n"}, // the end of a name is found, too
		{"query=" + name, 200, "a file\n"},
		{"query=" + name + "-dir", 200, "a file in a directory\n"},
		{"query=" + name + "-dir/" + name + "-dir.log", 200, "a file in a directory\n"},
		{"query=" + name + "&query=" + name + "-dir", 200, "a file\na file in a directory\n"},
		{"query=" + name + "&tailLines=1", 200, "\noptions present and query resolved to log files for [" + name + "]\ntry without specifying options\n"},
		{"query=no-such-service", 200, "\nlog not found for no-such-service\n"},

		{"query=", 400, "query: Invalid value: [\"\"]: may not be empty\n"},
		{"query=kubelet&sinceTime=yesterday", 400, "sinceTime: Invalid value: \"yesterday\": invalid time format\n"},
		{"query=kubelet&boot=x", 400, "boot: Invalid value: \"x\": strconv.Atoi: parsing \"x\": invalid syntax\n"},
		{"sinceTime=1&untilTime=2", 400, "[sinceTime: Invalid value: \"1\": invalid time format, untilTime: Invalid value: \"2\": invalid time format]\n"},
		{"tailLines=5", 406, "query: Required value: cannot be empty with options\n"},
		{"query=kubelet&tailLines=100001", 406, "tailLines: Invalid value: 100001: must be between 0 and 100000, inclusive\n"},
		{"query=kubelet&boot=1", 406, "boot: Invalid value: 1: must be less than 1\n"},
		{"query=kubelet&pattern=[", 406, "pattern: Invalid value: \"[\": error parsing regexp: missing closing ]: `[`\n"},
		{"query=kubelet&sinceTime=2026-02-02T00:00:00Z&untilTime=2026-01-01T00:00:00Z", 406, "untilTime: Invalid value: \"2026-01-01T00:00:00Z\": must be after `sinceTime`\n"},
		{"query=a b", 406, "query: Invalid value: \"a b\": input contains unsupported characters\n"},
		{"query=a$(id)", 406, "query: Invalid value: \"a$(id)\": input contains unsupported characters\n"},
		{"query=" + strings.Repeat("x", 257), 406, "query: Invalid value: \"" + strings.Repeat("x", 257) + "\": length must be less than 256\n"},
		{"query=a&query=b&query=c&query=d&query=e", 406, "query: Too many: 5: must have at most 4 items\n"},
		{"query=a&query=b/c", 406, "query: Invalid value: \"[b/c], [a]\": cannot specify a file and service\n"},
		{"query=a/b&query=b/c", 406, "query: Invalid value: [\"a/b\",\"b/c\"]: cannot specify more than one file\n"},
		{"query=a/b&boot=0", 406, "query: Invalid value: [\"a/b\"]: cannot specify file with options\n"},
		{"query=no/such/file", 406, "query: Invalid value: [\"no/such/file\"]: statat no/such/file: no such file or directory\n"},
		{"query=/var/log/" + name + ".log", 406, "query: Invalid value: [\"/var/log/" + name + ".log\"]: statat /var/log/" + name + ".log: path escapes from parent\n"},
		{"query=../../etc/passwd", 406, "query: Invalid value: [\"../../etc/passwd\"]: statat ../../etc/passwd: path escapes from parent\n"},
	} {
		values := strings.Split(q.query, "&")
		for i, v := range values {
			key, value, _ := strings.Cut(v, "=")
			values[i] = key + "=" + url.QueryEscape(value)
		}
		c.expect(t, get, "/logs/?"+strings.Join(values, "&"), q.code, q.body)
	}
	c.expect(t, get, "/logs/"+name+"-dir/?query=kubelet", 406, "path not allowed in query mode\n")
	c.expect(t, get, "/logs/"+name+".log", 200, "a file\n")
	c.expect(t, get, "/logs/"+name+".log?unknown=1", 200, "a file\n")
	c.expect(t, get, "/logs/?query=..", 200, `^^\nerror getting log for \.\.: `)

	a := c.ask(t, get, "/logs/?query="+name, "Accept-Encoding: gzip")
	unpacked, err := gzip.NewReader(strings.NewReader(a.body))
	must(t, "reading what is packed", err)
	text, err := io.ReadAll(unpacked)
	must(t, "unpacking", err)
	if string(text) != "a file\n" || a.header.Get("Content-Encoding") != "gzip" || a.header.Get("Content-Type") != "text/plain;charset=UTF-8" {
		t.Errorf("packed: %v %q", a.header, text)
	}
	got, err := b.Kubectl(t.Context(), "get", "--raw", "/api/v1/nodes/"+b.NodeName+"/proxy/logs/?query=kubelet&tailLines=1")
	must(t, "kubectl get --raw", err)
	if want := always + "<--pager-end><--lines=1><--unit=kubelet>\n"; got != want {
		t.Errorf("kubectl: %q, want %q", got, want)
	}
}
