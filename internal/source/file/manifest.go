package file

import (
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"nodeagent.dev/nodeagent/internal/pod"
)

// The annotations by which the kubelet marks what a pod comes from.
const (
	annotationHash   = "kubernetes.io/config.hash"
	annotationSource = "kubernetes.io/config.source"
	annotationSeen   = "kubernetes.io/config.seen"
)

// newDecoder returns a decoder for the core API that also reports unknown and
// repeated fields: a misspelt field is better found when it is written than
// when it is missed. See [decode] for what becomes of the report.
func newDecoder() (runtime.Decoder, error) {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("registering the core API types: %w", err)
	}
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer(), nil
}

// parse makes a manifest a static pod of this node, ready to run. warning says
// what of the manifest had no effect.
func (s *Source) parse(data []byte, path string, now time.Time) (p *corev1.Pod, warning string, err error) {
	p, warning, err = decode(s.decoder, data)
	if err != nil {
		return nil, "", err
	}
	setDefaults(p)
	if p.UID == "" {
		p.UID = uidOf(p, s.cfg.NodeName, path)
	}
	identify(p, s.cfg.NodeName, now)
	if err := validate(p); err != nil {
		return nil, "", err
	}
	if what := apiReference(p); what != "" {
		return nil, "", fmt.Errorf("static pods may not reference %s: "+
			"they have to start without an API server; use a hostPath volume or a plain value instead", what)
	}
	return p, warning, nil
}

// decode reads a manifest as the kubelet does: what it does not know is left
// out, and of a field that is there twice the last one counts. Only that, unlike
// the kubelet, it says so in the warning.
func decode(decoder runtime.Decoder, data []byte) (p *corev1.Pod, warning string, err error) {
	if len(data) == 0 {
		return nil, "", errors.New("the file is empty; write a Pod manifest into it or remove it")
	}
	obj, _, err := decoder.Decode(data, nil, nil)
	if strict, is := runtime.AsStrictDecodingError(err); is && obj != nil {
		warning, err = oddities(strict.Errors()), nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("it cannot be read as a v1 Pod in YAML or JSON: %w", err)
	}
	p, isPod := obj.(*corev1.Pod)
	if !isPod {
		return nil, "", fmt.Errorf("it holds a %s; a static pod manifest holds one object of kind Pod, apiVersion v1",
			strings.TrimPrefix(fmt.Sprintf("%T", obj), "*v1."))
	}
	if p.Name == "" {
		return nil, "", errors.New("metadata.name: Required value: give the pod a name")
	}
	p.TypeMeta = metav1.TypeMeta{} // pods of the API server do not have it either
	return p, warning, nil
}

// oddities makes one sentence of what a strict reading complains about.
func oddities(errs []error) string {
	words := make([]string, 0, len(errs))
	for _, err := range errs {
		text := strings.TrimPrefix(err.Error(), "yaml: unmarshal errors:")
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" {
				words = append(words, line)
			}
		}
	}
	return strings.Join(words, ", ") + "; the pod runs without what is unknown, and of a repeated field the last one counts"
}

// identify ties the pod to this node.
func identify(p *corev1.Pod, nodeName string, now time.Time) {
	p.Name = p.Name + "-" + strings.ToLower(nodeName)
	if p.Namespace == "" {
		p.Namespace = metav1.NamespaceDefault
	}
	p.Spec.NodeName = nodeName
	if p.Annotations == nil {
		p.Annotations = map[string]string{}
	}
	p.Annotations[annotationHash] = string(p.UID)
	p.Annotations[annotationSource] = string(pod.SourceFile)
	p.Annotations[annotationSeen] = now.Format(time.RFC3339Nano)
	tolerateNoExecute(p)
	p.Status.Phase = corev1.PodPending
}

// tolerateNoExecute keeps taints of the node from ending a pod that the node
// itself needs.
func tolerateNoExecute(p *corev1.Pod) {
	want := corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}
	for i := range p.Spec.Tolerations {
		if p.Spec.Tolerations[i].MatchToleration(&want) {
			p.Spec.Tolerations[i] = want
			return
		}
	}
	p.Spec.Tolerations = append(p.Spec.Tolerations, want)
}
