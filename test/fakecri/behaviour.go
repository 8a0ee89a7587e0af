package fakecri

import (
	"context"
	"time"
)

// Behaviour says what the process of one container instance does.
type Behaviour struct {
	// RunFor is how long it runs by itself; zero means for ever.
	RunFor time.Duration
	// ExitCode is what it ends with when it ends by itself.
	ExitCode int32
	// TermAfter is how long it takes to end after SIGTERM, with code 143.
	TermAfter time.Duration
	// IgnoreTerm makes it survive SIGTERM; only SIGKILL ends it, with 137.
	IgnoreTerm bool
	// StartError makes StartContainer fail with this text.
	StartError string
	// Exec is what a command in the container does; nil answers with the command
	// itself and code 0. It may block: ctx ends with the call.
	Exec func(ctx context.Context, command []string) (stdout string, code int32, err error)
}

// Image is an image in the fake's store or in its registry.
type Image struct {
	// Name is the reference a pull or a lookup uses, such as "registry/a:1".
	Name string
	// ID is what ImageStatus resolves it to; empty means one made of Name.
	ID   string
	Size uint64
	// UID and Username are the image's user; both empty is root.
	UID      *int64
	Username string
	// PullFor is how long a pull takes, PullError its failure.
	PullFor   time.Duration
	PullError string
}

// Config is what a fake runtime is made of. The zero value is a runtime where
// every image is present and every container runs for ever.
type Config struct {
	// Behave scripts the containers; nil means that all run for ever.
	Behave func(podName, container string, attempt int) Behaviour
	// Fault decides what goes wrong with a call; nil means nothing does. It is
	// called by one goroutine at a time.
	Fault func(Call) Fault
	// EventFault decides what goes wrong with an event on its way.
	EventFault func(Event) EventFault
	// NoEvents makes GetContainerEvents unimplemented.
	NoEvents bool
	// Present and Pullable are the images on the node and in the registry.
	// When both are nil every image is present.
	Present  []Image
	Pullable []Image
	// Logs makes the files that containers log to, empty, where the agent says;
	// without it none are made.
	Logs bool
	// ImageDir is where ImageFsInfo says that images are; empty makes it
	// unimplemented.
	ImageDir string
	// CgroupDriver is "systemd", "cgroupfs" or "" (RuntimeConfig unimplemented).
	CgroupDriver string
	// NetworkNotReady and RuntimeNotReady are the messages of failing conditions.
	NetworkNotReady string
	RuntimeNotReady string
}

// Call is one request, before it is served.
type Call struct {
	// Method is the CRI name, such as "RunPodSandbox".
	Method string
	// Seq counts all calls from 0, N those of this method.
	Seq, N int
	// PodUID, Name and ID are what the request names; each may be empty.
	PodUID, Name, ID string
	// Endless tells that no caller ever gives up: a command without a timeout.
	Endless bool
}

// FaultKind is a way for a call to go wrong.
type FaultKind int

// What may go wrong.
const (
	// NoFault serves the call.
	NoFault FaultKind = iota
	// Unavailable fails before any effect.
	Unavailable
	// LostReply has the effect, then fails as if the connection had broken.
	LostReply
	// Hang has no effect and answers nothing until the caller gives up.
	Hang
	// HangAfter has the effect and answers nothing until the caller gives up.
	HangAfter
	// RestartBefore breaks all connections instead of serving the call.
	RestartBefore
	// RestartAfter has the effect and then breaks all connections.
	RestartAfter
)

// Fault is what happens to one call.
type Fault struct {
	Kind FaultKind
	// Delay passes before anything else happens.
	Delay time.Duration
	// Restart says more about RestartBefore and RestartAfter.
	Restart Restart
}

// Restart describes a restart of the runtime. Containers go on meanwhile.
type Restart struct {
	// Down is how long nobody can connect.
	Down time.Duration
	// Lose, if set, picks sandboxes the runtime does not know any more
	// afterwards, with their containers.
	Lose func(podUID string) bool
}

// Event is a container event on its way to the subscribers.
type Event struct {
	ID, PodUID string
	// Type is the CRI name, such as "CONTAINER_STOPPED_EVENT".
	Type string
}

// EventFault is what happens to one event.
type EventFault struct {
	Drop      bool
	Duplicate bool
	// Delay holds the event back; later events overtake it.
	Delay time.Duration
}

// Effect is one line of the journal: something that changed in the runtime.
type Effect struct {
	At time.Time
	// Verb is "RunPodSandbox", "StopPodSandbox", "RemovePodSandbox",
	// "CreateContainer", "StartContainer", "Term", "Kill", "Exited",
	// "RemoveContainer", "PullImage", "Restarted" or "Lost".
	Verb    string
	PodUID  string
	Name    string
	Attempt int
	ID      string
	// Note has the exit code, the signal's grace or the failure.
	Note string
}
