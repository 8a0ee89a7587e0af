package main

import (
	"reflect"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		args []string
		want flags
	}{
		{"wget", []string{"-qO-", "http://a/b"}, flags{url: "http://a/b", output: "-", toStdout: true, timeout: 30 * time.Second}},
		{"wget", []string{"-q", "-T", "5", "-O", "-", "a:80"}, flags{url: "http://a:80", output: "-", toStdout: true, timeout: 5 * time.Second}},
		{"wget", []string{"-qO", "x", "a"}, flags{url: "http://a", output: "x", timeout: 30 * time.Second}},
		{"curl", []string{"-sS", "--connect-timeout", "2", "a"}, flags{url: "http://a", toStdout: true, timeout: 2 * time.Second}},
		{
			"curl", []string{"-XGET", "-sIk", "-o", "/dev/null", "-w", "%{http_code}", "--header", "A: b", "https://a:1/m"},
			flags{
				url: "https://a:1/m", output: "/dev/null", method: "GET", timeout: 30 * time.Second, insecure: true, head: true,
				format: "%{http_code}", headers: []string{"A: b"},
			},
		},
	} {
		got, err := parse(test.name, test.args)
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s %q: got %+v, %v; want %+v", test.name, test.args, got, err, test.want)
		}
	}
	if _, err := parse("wget", nil); err == nil {
		t.Error("no error without a URL")
	}
}
