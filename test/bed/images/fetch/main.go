// Command fetch is the wget and curl of the bed's busybox image: Debian's
// static busybox cannot resolve names.
package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fetch:", err)
		os.Exit(1)
	}
}

type flags struct {
	url, output, method string
	timeout             time.Duration
	toStdout, insecure  bool
	head                bool
	headers             []string // "Name: value"
	format              string   // what curl is to write out at the end
}

// Letters of options that have a value: those of wget and of curl.
const (
	wgetValues = "TOot"
	curlValues = "mowXH"
)

// longNames are the long options that matter, as letters of curl.
func longNames() map[string]string {
	return map[string]string{"--connect-timeout": "m", "--max-time": "m", "--header": "H"}
}

// parse understands the flags of wget and curl that test pods use.
func parse(name string, args []string) (flags, error) {
	f := flags{timeout: 30 * time.Second, toStdout: name == "curl"}
	values := wgetValues
	if name == "curl" {
		values = curlValues
	}
	for i := 0; i < len(args); i++ {
		letters, value, attached := split(args[i], values)
		if letters == "" {
			f.url = args[i]
			continue
		}
		last := letters[len(letters)-1:]
		if !strings.Contains(values+"H", last) {
			f.set(letters)
			continue
		}
		f.set(letters[:len(letters)-1])
		if !attached {
			if i++; i >= len(args) {
				return f, fmt.Errorf("-%s needs a value", last)
			}
			value = args[i]
		}
		if err := f.setValue(last, value); err != nil {
			return f, err
		}
	}
	if f.url == "" {
		return f, fmt.Errorf("usage: %s [-q] [-T SECONDS] [-O FILE|-] URL", name)
	}
	if !strings.Contains(f.url, "://") {
		f.url = "http://" + f.url
	}
	return f, nil
}

// split takes an argument apart into the letters of its options, the last of
// which may have a value, and the value attached to it: "-qO-" is q and O with
// the value "-". No option at all is "".
func split(arg, values string) (letters, value string, attached bool) {
	name, value, attached := strings.Cut(arg, "=")
	switch {
	case longNames()[name] != "":
		return longNames()[name], value, attached
	case strings.HasPrefix(arg, "--"):
		return "-", "", false
	case len(arg) < 2 || arg[0] != '-':
		return "", "", false
	}
	letters = arg[1:]
	if at := strings.IndexAny(letters, values); at >= 0 && at+1 < len(letters) {
		return letters[:at+1], letters[at+1:], true
	}
	return letters, "", false
}

// set notes options without a value; the others change nothing here.
func (f *flags) set(letters string) {
	if strings.Contains(letters, "k") {
		f.insecure = true
	}
	if strings.Contains(letters, "I") {
		f.head = true
	}
}

func (f *flags) setValue(letter, value string) error {
	switch letter {
	case "o", "O":
		f.output, f.toStdout = value, value == "-"
	case "w":
		f.format = value
	case "X":
		f.method = value
	case "H":
		f.headers = append(f.headers, value)
	case "T", "m":
		seconds, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("-%s %s: %w", letter, value, err)
		}
		f.timeout = time.Duration(seconds) * time.Second
	}
	return nil
}

// get sends the request.
func (f *flags) get() (*http.Response, error) {
	method := f.method
	if method == "" && f.head {
		method = http.MethodHead
	}
	req, err := http.NewRequest(method, f.url, nil) // no method is GET
	if err != nil {
		return nil, fmt.Errorf("make a request: %w", err)
	}
	for _, h := range f.headers {
		name, value, _ := strings.Cut(h, ":")
		req.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	client := http.Client{Timeout: f.timeout}
	if f.insecure {
		client.Transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		}
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", f.url, err)
	}
	return resp, nil
}

func run(args []string) error {
	name := os.Args[0][strings.LastIndexByte(os.Args[0], '/')+1:]
	f, err := parse(name, args)
	if err != nil {
		return err
	}
	resp, err := f.get()
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	out := os.Stdout
	if !f.toStdout {
		if f.output == "" {
			f.output = "index.html"
		}
		if out, err = os.Create(f.output); err != nil {
			return fmt.Errorf("create the output: %w", err)
		}
		defer out.Close()
	}
	if _, err := io.Copy(out, resp.Body); err != nil {
		return fmt.Errorf("read %s: %w", f.url, err)
	}
	fmt.Print(strings.ReplaceAll(f.format, "%{http_code}", strconv.Itoa(resp.StatusCode)))
	if resp.StatusCode >= 400 && name != "curl" {
		return fmt.Errorf("server answered %s", resp.Status)
	}
	return nil
}
