package bench

import (
	"encoding/json"
	"errors"
	"fmt"
)

// String is the report for people, in Markdown.
func (r *report) String() string {
	const hundred = 100
	return fmt.Sprintf("%s, on %s, %.0f %% of the processors' time kept by the host; rounds of each: %d, in runs: %d, measured again because of the host: %d\n\n%s",
		r.Date, r.Machine, hundred*r.stolen(), len(r.Agent), r.Runs, r.Repeated, r.table())
}

// Document returns what bench.json comes to, in Markdown: on what was measured and
// the table, judged by the targets of today.
func Document(benchJSON []byte) (string, error) {
	r := &report{}
	if err := json.Unmarshal(benchJSON, r); err != nil {
		return "", fmt.Errorf("read the report of make bench: %w", err)
	}
	if len(r.Agent) == 0 {
		return "", errors.New("the report has no round of nodeagent: let make bench OUT=DIR come to the end of one")
	}
	r.judge()
	return r.String(), nil
}

// DocumentScale returns what bench-scale.json comes to, in Markdown.
func DocumentScale(scaleJSON []byte) (string, error) {
	r := &scaleReport{}
	if err := json.Unmarshal(scaleJSON, r); err != nil {
		return "", fmt.Errorf("read the report of make bench-scale: %w", err)
	}
	if len(r.Agent) == 0 || len(r.Kubelet) == 0 {
		return "", errors.New("the report has no round of both agents: let make bench-scale OUT=DIR come to the end of one")
	}
	r.judge()
	return r.String(), nil
}
