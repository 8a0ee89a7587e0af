// Command fetch is the wget and curl of the bed's busybox image: Debian's
// static busybox cannot resolve names.
package main

import (
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
	url, output string
	timeout     time.Duration
	toStdout    bool
}

// parse understands the flags of wget and curl that test pods use.
func parse(name string, args []string) (flags, error) {
	f := flags{timeout: 30 * time.Second, toStdout: name == "curl"}
	for i := 0; i < len(args); i++ {
		option, value := split(args[i])
		if option == "" {
			f.url = args[i]
			continue
		}
		if !strings.ContainsAny(option, "TmOo") {
			continue
		}
		if value == "" {
			if i++; i >= len(args) {
				return f, fmt.Errorf("-%s needs a value", option)
			}
			value = args[i]
		}
		if strings.EqualFold(option, "o") {
			f.output, f.toStdout = value, value == "-"
			continue
		}
		seconds, err := strconv.Atoi(value)
		if err != nil {
			return f, fmt.Errorf("-%s %s: %w", option, value, err)
		}
		f.timeout = time.Duration(seconds) * time.Second
	}
	if f.url == "" {
		return f, fmt.Errorf("usage: %s [-q] [-T SECONDS] [-O FILE|-] URL", name)
	}
	if !strings.Contains(f.url, "://") {
		f.url = "http://" + f.url
	}
	return f, nil
}

// split takes an argument apart into the letter that matters and the value
// attached to it: "-qO-" is O with the value "-". No option at all is "".
func split(arg string) (option, value string) {
	switch {
	case arg == "--connect-timeout" || arg == "--max-time":
		return "m", ""
	case strings.HasPrefix(arg, "--"):
		return "-", ""
	case !strings.HasPrefix(arg, "-"):
		return "", ""
	}
	if at := strings.IndexAny(arg, "TmOo"); at > 0 {
		return arg[at : at+1], arg[at+1:]
	}
	return "-", ""
}

func run(args []string) error {
	name := os.Args[0][strings.LastIndexByte(os.Args[0], '/')+1:]
	f, err := parse(name, args)
	if err != nil {
		return err
	}
	client := http.Client{Timeout: f.timeout}
	resp, err := client.Get(f.url)
	if err != nil {
		return fmt.Errorf("get %s: %w", f.url, err)
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
	if resp.StatusCode >= 400 && name != "curl" {
		return fmt.Errorf("server answered %s", resp.Status)
	}
	return nil
}
