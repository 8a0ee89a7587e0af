package cridiff

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	tick = 200 * time.Millisecond
	// calm is how long nothing has to be asked for when all is there, quiet when
	// something is missing: longer than a back-off.
	calm  = 1500 * time.Millisecond
	quiet = 12 * time.Second
	// settle is how long pods get that do not come up.
	settle = 5 * time.Second
)

// wait gives running pods what they get later, and returns when all that is
// expected has been asked for, or when the agent has stopped asking.
func (s *Session) wait(ctx context.Context) (missing []string, err error) {
	begin := time.Now()
	last, change := -1, begin
	later := s.corpus.later()
	ticker := time.NewTicker(s.target.times(tick))
	defer ticker.Stop()
	for {
		updates, err := s.updates()
		if err != nil {
			return nil, err
		}
		missing = s.missing(updates)
		for p := range later {
			if !p.ready(missing) {
				continue
			}
			delete(later, p)
			if p.Kill {
				s.killSandbox(p)
			} else if err := s.target.change(ctx, p); err != nil {
				return missing, err
			}
			change = time.Now() // the agent hears of it now
		}
		if seen := len(s.fake.Journal()) + len(updates); seen != last {
			last, change = seen, time.Now()
		}
		idle := time.Since(change)
		whole := len(missing) == 0 && idle > s.target.times(calm) && time.Since(begin) > s.target.times(settle)
		if whole || idle > s.target.times(quiet) {
			return missing, nil
		}
		select {
		case <-ctx.Done():
			return missing, fmt.Errorf("wait for the containers of the corpus: %w; missing: %v", ctx.Err(), missing)
		case <-ticker.C:
		}
	}
}

// Things that missing names beside containers.
const (
	updateOf  = "update of "
	debugger  = "ephemeral "
	afterKill = "in another sandbox "
)

// missing lists what is expected and has not been asked for, as "POD: WHAT".
// Updates are the containers that have been updated.
func (s *Session) missing(updates []string) []string {
	started := map[string]bool{}
	for _, e := range s.fake.Journal() {
		if e.Verb == "StartContainer" {
			started[fmt.Sprintf("%s %s/%d", e.PodUID, e.Name, e.Attempt)] = true
		}
	}
	uids := map[string]string{}
	for _, sb := range s.fake.Snapshot().Sandboxes {
		uids[s.target.plain(sb.Name)] = sb.PodUID
	}
	var missing []string
	for i := range s.corpus.Pods {
		p := &s.corpus.Pods[i]
		for _, want := range p.Expected() {
			if !started[uids[p.Name]+" "+strings.TrimPrefix(strings.TrimPrefix(want, debugger), afterKill)] {
				missing = append(missing, p.Name+": "+want)
			}
		}
		for name := range p.Resize {
			if !slices.Contains(updates, p.Name+"/"+name) {
				missing = append(missing, p.Name+": "+updateOf+name)
			}
		}
	}
	slices.Sort(missing)
	return missing
}

// updates lists the containers whose resources were updated, as "POD/NAME", once
// for each request.
func (s *Session) updates() ([]string, error) {
	calls, err := s.recorder.Calls()
	if err != nil {
		return nil, err
	}
	var all []string
	var names map[string][2]string
	for _, call := range calls {
		if call.Method != "UpdateContainerResources" {
			continue
		}
		if names == nil {
			names = s.identities().containers
		}
		var request struct {
			ID string `json:"container_id"`
		}
		if err := json.Unmarshal(call.Request, &request); err != nil {
			return nil, fmt.Errorf("read a recorded %s: %w", call.Method, err)
		}
		all = append(all, names[request.ID][0]+"/"+names[request.ID][1])
	}
	return all, nil
}

// killSandbox ends the pod's sandbox, as when its pause process is killed.
func (s *Session) killSandbox(p *Pod) {
	for _, sb := range s.fake.Snapshot().Sandboxes {
		if s.target.plain(sb.Name) == p.Name {
			s.fake.KillSandbox(sb.ID)
		}
	}
}

// later are the pods that get something once they run.
func (c *Corpus) later() map[*Pod]bool {
	all := map[*Pod]bool{}
	for i := range c.Pods {
		if p := &c.Pods[i]; p.Kill || len(p.Ephemeral)+len(p.Resize) > 0 {
			all[p] = true
		}
	}
	return all
}

// ready reports whether nothing is missing of the pod but what it gets later.
func (p *Pod) ready(missing []string) bool {
	return !slices.ContainsFunc(missing, func(m string) bool {
		what, own := strings.CutPrefix(m, p.Name+": ")
		return own && !strings.HasPrefix(what, updateOf) && !strings.HasPrefix(what, debugger) && !strings.HasPrefix(what, afterKill)
	})
}

// change adds ephemeral containers to a pod and resizes others.
func (t *Target) change(ctx context.Context, p *Pod) error {
	pods := t.Client.CoreV1().Pods(p.Namespace)
	for {
		now, err := pods.Get(ctx, p.Name, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("read pod %s: %w", p.Name, err)
		}
		if len(p.Ephemeral) > 0 {
			now.Spec.EphemeralContainers = p.Ephemeral
			_, err = pods.UpdateEphemeralContainers(ctx, p.Name, now, metav1.UpdateOptions{})
		} else {
			for i := range now.Spec.Containers {
				if to, ok := p.Resize[now.Spec.Containers[i].Name]; ok {
					now.Spec.Containers[i].Resources = to
				}
			}
			_, err = pods.UpdateResize(ctx, p.Name, now, metav1.UpdateOptions{})
		}
		if err == nil {
			return nil
		}
		if !apierrors.IsConflict(err) {
			return fmt.Errorf("change pod %s: %w", p.Name, err)
		}
	}
}
