package bed

// hideRun puts an empty /run before a program, with the runtime's socket where
// most machines have it. Only / and /run stop to be shared with the machine:
// mounts below the agent's folder go on to reach containerd.
const hideRun = `mount --make-private / 2>/dev/null
mount --make-private /run 2>/dev/null
mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/containerd && ln -s "$1" /run/containerd/containerd.sock || exit 125
shift
exec "$@"`

// withUsualSocket is the command line that starts argv in a mount namespace of
// its own, where /run/containerd/containerd.sock leads to the bed's containerd.
func (b *Bed) withUsualSocket(argv []string) []string {
	return append([]string{"/usr/bin/unshare", "--mount", "--propagation", "unchanged", "sh", "-c", hideRun, "sh", b.CRISocket}, argv...)
}
