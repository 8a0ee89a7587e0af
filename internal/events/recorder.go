package events

import (
	"context"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"

	"nodeagent.dev/nodeagent/internal/pod"
)

// component is who the events come from. Tools and people filter for it.
const component = "kubelet"

// behind is how long after it happened something is told. What an event is about also
// changes a status, or is about to: that goes first, and people read later than this.
const behind = 250 * time.Millisecond

// Recorder sends events about pods and the node. It never blocks its caller.
type Recorder struct {
	recorder    record.EventRecorder
	broadcaster record.EventBroadcaster
	node        string
	log         *zap.Logger
}

// New returns a recorder for the node's events. client may be nil: then events
// are only logged.
func New(ctx context.Context, client typedcorev1.EventsGetter, node string, log *zap.Logger) *Recorder {
	r := &Recorder{node: node, log: log}
	if client == nil {
		return r
	}
	r.broadcaster = record.NewBroadcaster(record.WithContext(ctx))
	r.broadcaster.StartRecordingToSink(&sink{&typedcorev1.EventSinkImpl{Interface: client.Events("")}, ctx.Done()})
	r.recorder = r.broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: component, Host: node})
	return r
}

// sink takes events, one at a time, when they are old enough.
type sink struct {
	record.EventSink
	ended <-chan struct{}
}

func (s *sink) Create(e *corev1.Event) (*corev1.Event, error) {
	s.wait(e)
	return s.EventSink.Create(e) //nolint:wrapcheck // client-go decides by it
}

func (s *sink) Patch(e *corev1.Event, patch []byte) (*corev1.Event, error) {
	s.wait(e)
	return s.EventSink.Patch(e, patch) //nolint:wrapcheck // client-go decides by it
}

func (s *sink) wait(e *corev1.Event) {
	t := time.NewTimer(min(time.Until(e.LastTimestamp.Add(behind)), behind))
	defer t.Stop()
	select {
	case <-s.ended:
	case <-t.C:
	}
}

// Close stops sending; what is queued is dropped.
func (r *Recorder) Close() {
	if r.broadcaster != nil {
		r.broadcaster.Shutdown()
	}
}

// Event records an event about a pod or, if container is not empty, about one
// of its containers.
func (r *Recorder) Event(p *corev1.Pod, container string, warning bool, reason, message string) {
	// The message may have what a container said, which is not for the log.
	r.log.Debug("event", zap.String("pod", pod.RefOf(p).String()), zap.String("container", container), zap.String("reason", reason))
	if r.recorder == nil {
		return
	}
	ref := &corev1.ObjectReference{
		Kind: "Pod", APIVersion: "v1", Namespace: p.Namespace, Name: p.Name,
		UID: p.UID, ResourceVersion: p.ResourceVersion,
	}
	if container != "" {
		_, k := pod.Find(p, container)
		ref.FieldPath = "spec." + k.Field() + "{" + container + "}"
	}
	r.recorder.Event(ref, eventType(warning), reason, message)
}

// NodeEvent records an event about the node itself.
func (r *Recorder) NodeEvent(eventtype, reason, message string) {
	r.log.Info("node event", zap.String("reason", reason), zap.String("message", message))
	if r.recorder == nil {
		return
	}
	ref := &corev1.ObjectReference{Kind: "Node", Name: r.node, UID: types.UID(r.node)}
	r.recorder.Event(ref, eventtype, reason, message)
}

func eventType(warning bool) string {
	if warning {
		return corev1.EventTypeWarning
	}
	return corev1.EventTypeNormal
}
