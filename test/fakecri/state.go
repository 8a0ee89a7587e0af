package fakecri

import (
	"fmt"
	"sync"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// state is what the runtime knows. It survives restarts of the server. Its
// mutex is never held across a wait.
type state struct {
	cfg Config

	mu         sync.Mutex
	closed     bool
	nextID     int
	nextIP     int
	sandboxes  map[string]*sandbox
	containers map[string]*container
	names      map[string]string // reserved name -> ID
	images     map[string]Image
	events     events
	journal    []Effect
	check      checks
	podCIDR    string
}

type sandbox struct {
	// died: it ended by itself, which no agent can foresee.
	died    bool
	id      string
	meta    cri.PodSandboxMetadata
	config  *cri.PodSandboxConfig
	handler string
	ready   bool
	created time.Time
	ips     []string
}

type container struct {
	id, name, sandboxID, podUID, podName string
	attempt                              uint32
	config                               *cri.ContainerConfig
	behaviour                            Behaviour
	state                                cri.ContainerState
	created, started, finished           time.Time
	exitCode                             int32
	reason, message                      string
	imageID                              string
	// exit ends the process by itself, term after a SIGTERM.
	exit, term *time.Timer
	// gone is closed when the process has ended.
	gone chan struct{}
}

func newState(cfg Config) *state {
	st := &state{
		cfg:        cfg,
		sandboxes:  map[string]*sandbox{},
		containers: map[string]*container{},
		names:      map[string]string{},
		images:     map[string]Image{},
		check:      newChecks(),
	}
	for _, i := range cfg.Present {
		st.images[i.Name] = i
	}
	return st
}

// id makes an identifier that sorts in order of creation. It looks like
// containerd's: 64 hexadecimal digits.
func (st *state) id(kind byte) string {
	st.nextID++
	return fmt.Sprintf("%c%063x", kind, st.nextID)
}

// ip returns the next address of the fake pod network.
func (st *state) ip() string {
	st.nextIP++
	return fmt.Sprintf("10.88.%d.%d", st.nextIP/250, st.nextIP%250+2)
}

// note writes a line into the journal.
func (st *state) note(verb, uid, name string, attempt uint32, id, note string) {
	st.journal = append(st.journal, Effect{
		At: time.Now(), Verb: verb, PodUID: uid, Name: name, Attempt: int(attempt), ID: id, Note: note,
	})
}

func (st *state) noteContainer(verb string, k *container, note string) {
	st.note(verb, k.podUID, k.name, k.attempt, k.id, note)
}

func (st *state) noteSandbox(verb string, sb *sandbox, note string) {
	st.note(verb, sb.meta.Uid, sb.meta.Name, sb.meta.Attempt, sb.id, note)
}

// begin starts a container's process.
func (st *state) begin(k *container) {
	k.state, k.started, k.gone = cri.ContainerState_CONTAINER_RUNNING, time.Now(), make(chan struct{})
	st.noteContainer("StartContainer", k, "")
	st.emit(k.id, k.podUID, cri.ContainerEventType_CONTAINER_STARTED_EVENT)
	if k.behaviour.RunFor > 0 {
		k.exit = time.AfterFunc(k.behaviour.RunFor, func() {
			st.mu.Lock()
			defer st.mu.Unlock()
			st.end(k, k.behaviour.ExitCode, "Exited")
		})
	}
}

// end ends a container's process, if it runs.
func (st *state) end(k *container, code int32, verb string) {
	if st.closed || k.state != cri.ContainerState_CONTAINER_RUNNING {
		return
	}
	for _, t := range []*time.Timer{k.exit, k.term} {
		if t != nil {
			t.Stop()
		}
	}
	k.state, k.finished, k.exitCode = cri.ContainerState_CONTAINER_EXITED, time.Now(), code
	k.reason = "Completed"
	if code != 0 {
		k.reason = "Error"
	}
	close(k.gone)
	st.noteContainer(verb, k, fmt.Sprintf("exit code %d", code))
	st.emit(k.id, k.podUID, cri.ContainerEventType_CONTAINER_STOPPED_EVENT)
}

// signalTerm sends SIGTERM.
func (st *state) signalTerm(k *container, note string) {
	st.noteContainer("Term", k, note)
	if k.behaviour.IgnoreTerm || k.term != nil {
		return
	}
	if k.behaviour.TermAfter <= 0 {
		st.end(k, exitTerm, "Exited")
		return
	}
	k.term = time.AfterFunc(k.behaviour.TermAfter, func() {
		st.mu.Lock()
		defer st.mu.Unlock()
		st.end(k, exitTerm, "Exited")
	})
}

const (
	exitTerm  = 128 + 15
	exitKill  = 128 + 9
	exitStart = 128
)

// drop forgets a container whose process has ended.
func (st *state) drop(k *container) {
	delete(st.containers, k.id)
	delete(st.names, containerName(k.config.GetMetadata(), &st.sandboxOf(k).meta))
	st.emit(k.id, k.podUID, cri.ContainerEventType_CONTAINER_DELETED_EVENT)
}

// sandboxOf returns the container's sandbox. It outlives its containers.
func (st *state) sandboxOf(k *container) *sandbox { return st.sandboxes[k.sandboxID] }

// in lists the containers of a sandbox in order of creation.
func (st *state) in(sandboxID string) []*container {
	return st.containersThat(func(k *container) bool { return k.sandboxID == sandboxID })
}

// restarted loses what a restart loses.
func (st *state) restarted(lose func(podUID string) bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.note("Restarted", "", "", 0, "", "")
	for _, sb := range st.sortedSandboxes() {
		if lose == nil || !lose(sb.meta.Uid) {
			continue
		}
		for _, k := range st.in(sb.id) {
			st.end(k, exitKill, "Lost")
			delete(st.containers, k.id)
			delete(st.names, containerName(k.config.GetMetadata(), &sb.meta))
		}
		st.noteSandbox("Lost", sb, "")
		delete(st.sandboxes, sb.id)
		delete(st.names, sandboxName(&sb.meta))
		st.check.forget(sb.meta.Uid)
	}
}

// close stops every timer; nothing changes any more.
func (st *state) close() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.closed = true
	for _, k := range st.containers {
		for _, t := range []*time.Timer{k.exit, k.term} {
			if t != nil {
				t.Stop()
			}
		}
	}
	st.events.close()
}
