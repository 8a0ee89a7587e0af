package cridiff

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"nodeagent.dev/nodeagent/test/diff"
)

// Result is what one agent asked the runtime for.
type Result struct {
	// Agent is who asked.
	Agent string `json:"agent"`
	// Pods are the facts by pod.
	Pods map[string]diff.Facts `json:"pods"`
	// Missing are containers the agent did not make in time, "POD: NAME/ATTEMPT".
	Missing []string `json:"missing,omitempty"`
	// Messages counts the distinct requests of each method.
	Messages map[string]int `json:"messages"`
}

// tree is a message as JSON has it.
type tree = map[string]any

// factsOf sorts calls by pod and makes facts of them. Requests that say the
// same twice count once. What is about none of the pods is left out.
// Ids tells what identities of the runtime stand for.
func (c *Corpus) factsOf(calls []Call, node string, ids identities, common *diff.Normaliser) (*Result, error) {
	s := sorter{
		node: node, ids: ids,
		pods: map[string]diff.Facts{}, uids: map[string]string{}, images: map[string][2]string{},
		sandboxes: map[string]tree{}, seen: map[string][]string{}, messages: map[string]int{},
	}
	for i := range c.Pods {
		p := &c.Pods[i]
		s.pods[p.Name] = diff.Facts{}
		for _, image := range p.Images() {
			s.images[image] = [2]string{p.Name, image}
			s.images[tagged(image)] = [2]string{p.Name, tagged(image)}
			s.images[imageID(image)] = [2]string{p.Name, "ID of " + image}
		}
	}
	// What sandboxes were made from comes first: images may be pulled before.
	slices.SortStableFunc(calls, func(a, b Call) int { return cmp.Compare(rank(a), rank(b)) })
	for _, call := range calls {
		if err := s.add(call); err != nil {
			return nil, err
		}
	}
	for name, facts := range s.pods {
		hideRange(facts)
		norm := common.Clone()
		uid := s.uids[name]
		norm.Name(uid, "$UID")
		norm.Name(strings.ReplaceAll(uid, "-", "_"), "$UID")
		facts = facts.Normalised(norm)
		for field, value := range facts {
			facts[field] = podIP.ReplaceAllString(value, "$$PODIP")
		}
		s.pods[name] = facts
	}
	return &Result{Pods: s.pods, Messages: s.messages}, nil
}

// hideRange replaces the first ID of the range that a pod of its own users got,
// which is random, wherever it is that of the sandbox.
func hideRange(facts diff.Facts) {
	first := facts["sandbox[0].config.linux.security_context.namespace_options.userns_options.uids[0].host_id"]
	if n, err := strconv.Atoi(first); err != nil || n%65536 != 0 {
		return
	}
	for field, value := range facts {
		if value == first && strings.HasSuffix(field, ".host_id") {
			facts[field] = "$RANGE"
		}
	}
}

func rank(c Call) int {
	if c.Method == "RunPodSandbox" {
		return 0
	}
	return 1
}

// podIP is an address that the fake gives to a sandbox.
var podIP = regexp.MustCompile(`\b10\.88\.\d+\.\d+\b`)

// identities are what the runtime's identities stand for.
type identities struct {
	containers map[string][2]string // pod and name
	sandboxes  map[string]string    // pod
}

// sorter gathers facts by pod.
type sorter struct {
	node      string
	pods      map[string]diff.Facts
	uids      map[string]string    // pod -> UID
	images    map[string][2]string // image or ID -> pod, how it is called
	sandboxes map[string]tree      // sandbox -> what it was made from
	ids       identities
	seen      map[string][]string // pod and what -> requests
	messages  map[string]int      // method -> requests that count
}

func (s *sorter) add(call Call) error {
	decoder := json.NewDecoder(bytes.NewReader(call.Request))
	decoder.UseNumber()
	var request tree
	if err := decoder.Decode(&request); err != nil {
		return fmt.Errorf("read a recorded %s: %w", call.Method, err)
	}
	pod, what, err := s.subject(call.Method, request)
	if err != nil || s.pods[pod] == nil {
		return err
	}
	text, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("keep a recorded %s: %w", call.Method, err)
	}
	key := pod + " " + what
	if slices.Contains(s.seen[key], string(text)) {
		return nil
	}
	s.seen[key] = append(s.seen[key], string(text))
	if n := len(s.seen[key]); n > 1 {
		what += fmt.Sprintf("#%d", n)
	}
	s.messages[call.Method]++
	return s.pods[pod].Add(what, request)
}

// subject finds out which pod a request is about, and makes the request ready
// to be compared.
func (s *sorter) subject(method string, request tree) (pod, what string, err error) {
	config := branch(request, "config")
	switch method {
	case "RunPodSandbox":
		pod = s.podOf(config)
		what = "sandbox[" + attempt(config) + "]"
		tidySandbox(config)
		s.sandboxes[pod+what] = config
	case "CreateContainer":
		sandbox := branch(request, "sandbox_config")
		pod = s.podOf(sandbox)
		name := text(branch(config, "metadata"), "name")
		what = "container[" + name + "/" + attempt(config) + "]"
		delete(request, "pod_sandbox_id")
		tidyContainer(config)
		tidySandbox(sandbox)
		err = s.compareSandbox(request, pod, sandbox)
	case "ImageStatus":
		spec := branch(request, "image")
		image := s.images[text(spec, "image")]
		pod, what = image[0], "image["+image[1]+"]"
		if len(spec) == 1 {
			what = "image[" + image[1] + ", by name only]"
		}
	case "PullImage":
		image := s.images[text(branch(request, "image"), "image")]
		pod, what = image[0], "pull["+image[1]+"]"
		if sandbox := branch(request, "sandbox_config"); sandbox != nil {
			tidySandbox(sandbox)
			err = s.compareSandbox(request, pod, sandbox)
		}
	case "UpdateContainerResources":
		container := s.ids.containers[text(request, "container_id")]
		pod, what = container[0], "update["+container[1]+"]"
		delete(request, "container_id")
		tidyResources(branch(request, "linux"))
	case "UpdatePodSandboxResources":
		pod, what = s.ids.sandboxes[text(request, "pod_sandbox_id")], "update[the sandbox]"
		delete(request, "pod_sandbox_id")
	}
	return pod, what, err
}

// compareSandbox shortens a request that repeats what the sandbox was made from
// to that, and to the fields in which it does not.
func (s *sorter) compareSandbox(request tree, pod string, sandbox tree) error {
	like := "sandbox[" + attempt(sandbox) + "]"
	made, ok := s.sandboxes[pod+like]
	if !ok {
		return nil
	}
	was, is := diff.Facts{}, diff.Facts{}
	if err := errors.Join(was.Add("", made), is.Add("", sandbox)); err != nil {
		return err
	}
	but := tree{}
	for field, value := range is {
		if was[field] != value {
			but[strings.TrimPrefix(field, ".")] = value
		}
	}
	for field := range was {
		if _, has := is[field]; !has {
			but[strings.TrimPrefix(field, ".")] = "(none)"
		}
	}
	delete(request, "sandbox_config")
	request["sandbox_config_is"] = like
	if len(but) > 0 {
		request["sandbox_config_but"] = but
	}
	return nil
}

// podOf finds the pod of a sandbox. The name of a static pod has the node's
// behind it.
func (s *sorter) podOf(sandbox tree) string {
	meta := branch(sandbox, "metadata")
	name := strings.TrimSuffix(text(meta, "name"), "-"+s.node)
	s.uids[name] = text(meta, "uid")
	return name
}

// tidySandbox puts into order what has none.
func tidySandbox(config tree) {
	if dns := branch(config, "dns_config"); dns != nil {
		if options, ok := dns["options"].([]any); ok {
			slices.SortFunc(options, byText)
		}
	}
}

// tidyContainer puts into order what has none, and makes the order of mounts a
// fact of its own since facts call mounts by their place in the container.
func tidyContainer(config tree) {
	if envs, ok := config["envs"].([]any); ok {
		config["envs"] = variables(envs)
	}
	tidyResources(branch(branch(config, "linux"), "resources"))
	var order []string
	mounts, _ := config["mounts"].([]any)
	for _, m := range mounts {
		mount, _ := m.(tree)
		order = append(order, text(mount, "container_path"))
	}
	config["mount_order"] = strings.Join(order, " ")
}

// tidyResources puts into order what has none.
func tidyResources(resources tree) {
	if limits, ok := resources["hugepage_limits"].([]any); ok {
		slices.SortFunc(limits, byText)
	}
}

// variables are the environment by name. A name that is there again gets a
// number, so that nothing is lost.
func variables(envs []any) tree {
	out := tree{}
	for _, e := range envs {
		env, _ := e.(tree)
		name, value := text(env, "key"), text(env, "value")
		if plain, err := base64.StdEncoding.DecodeString(value); err == nil {
			value = string(plain)
		}
		for n := 2; out[name] != nil; n++ {
			name = fmt.Sprintf("%s#%d", text(env, "key"), n)
		}
		out[name] = value
	}
	return out
}

func byText(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) }

func branch(t tree, key string) tree {
	b, _ := t[key].(tree)
	return b
}

func text(t tree, key string) string {
	s, _ := t[key].(string)
	return s
}

// attempt is that of a sandbox or a container; JSON leaves zero out.
func attempt(config tree) string {
	if n, ok := branch(config, "metadata")["attempt"]; ok {
		return fmt.Sprint(n)
	}
	return "0"
}
