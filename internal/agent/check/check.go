package check

import (
	"context"
	"fmt"
	"io"
	"time"

	"nodeagent.dev/nodeagent/internal/config"
)

// level is how much a line matters.
type level string

const (
	fine    level = "ok"
	warning level = "warning"
	problem level = "problem"
)

// limit bounds each question to somebody else.
const limit = 5 * time.Second

// line is what is said about one thing.
type line struct {
	level level
	what  string // the thing
	text  string // how it is
	todo  string // what to do about it, "" if nothing
}

// Run checks everything and writes one line about each thing. It returns how many
// of them keep a node from working.
func Run(ctx context.Context, cfg *config.Config, out io.Writer) (problems int, err error) {
	lines := settings(cfg)
	lines = append(lines, rootDir(cfg.RootDir))
	lines = append(lines, credentials(ctx, cfg)...)
	lines = append(lines, serving(cfg)...)
	lines = append(lines, clientCA(cfg)...)
	lines = append(lines, runtime(ctx, cfg)...)
	for _, l := range lines {
		if l.level == problem {
			problems++
		}
		text := l.text
		if l.todo != "" {
			text += "; " + l.todo
		}
		if _, err := fmt.Fprintf(out, "%-8s %s: %s\n", l.level, l.what, text); err != nil {
			return problems, fmt.Errorf("writing what was found: %w", err)
		}
	}
	return problems, nil
}

// settings repeats what the agent says about its configuration when it starts.
func settings(cfg *config.Config) []line {
	lines := []line{{fine, "configuration", "node " + cfg.NodeName + ", root directory " + cfg.RootDir, ""}}
	for _, w := range cfg.Warnings {
		lines = append(lines, line{warning, "configuration", w, ""})
	}
	for _, name := range cfg.Inert() {
		lines = append(lines, line{warning, "configuration", name + " has no effect in this version", ""})
	}
	return lines
}
