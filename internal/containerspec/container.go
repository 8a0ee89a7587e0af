package containerspec

import (
	"cmp"
	"math"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nodeagent.dev/nodeagent/internal/pod"
)

// Container returns the message that makes a container. What cannot be built
// is a [pod.Failure] with reason CreateContainerConfigError. The image's user
// is not in it yet, see [ApplyImageUser].
func Container(req pod.ContainerRequest, node Node) (*runtimeapi.ContainerConfig, error) {
	p, c := req.Sandbox.Pod, req.Container
	if p == nil || c == nil {
		return nil, configFailure("cannot make a container: no pod or no container was given")
	}
	if req.Attempt < 0 || int64(req.Attempt) > math.MaxUint32 {
		return nil, configFailure("restart count %d of container %q is out of range", req.Attempt, c.Name)
	}
	env, vars, err := environment(&req, &node)
	if err != nil {
		return nil, err
	}
	mounted, err := mounts(&req, &node, vars)
	if err != nil {
		return nil, err
	}
	for _, m := range mounted { // files have the owners in the pod that they have on the node
		m.UidMappings, m.GidMappings = idMappings(req.Sandbox.Grant.UserIDs), idMappings(req.Sandbox.Grant.UserIDs)
	}
	security, err := containerSecurity(&req, &node)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ContainerConfig{
		Metadata:    &runtimeapi.ContainerMetadata{Name: c.Name, Attempt: uint32(req.Attempt)}, // #nosec G115 -- checked above
		Image:       &runtimeapi.ImageSpec{Image: cmp.Or(req.Image.Ref, req.Image.Name, c.Image), UserSpecifiedImage: userSpecified(&req)},
		Command:     expandAll(c.Command, vars),
		Args:        expandAll(c.Args, vars),
		WorkingDir:  c.WorkingDir,
		Envs:        env,
		Mounts:      mounted,
		Labels:      containerLabels(p, c),
		Annotations: containerAnnotations(&req),
		LogPath:     LogPath(c.Name, req.Attempt),
		Stdin:       c.Stdin,
		StdinOnce:   c.StdinOnce,
		Tty:         c.TTY,
		Linux: &runtimeapi.LinuxContainerConfig{
			Resources:       containerResources(p, c, &node),
			SecurityContext: security,
		},
	}, nil
}

func userSpecified(req *pod.ContainerRequest) string {
	if req.Image.UserSpecified != "" {
		return req.Image.UserSpecified
	}
	return req.Container.Image
}
