// Package volumes tests how volumes behave on real beds, under either agent: that
// updates are seen soon and never half, that no trick with symlinks, names and
// mounts leads out of a volume, that a mount which hangs holds up its own pod
// alone, and that nothing is left of pods that are gone, whenever the agent dies.
//
//	bed --> pods with volumes --> witness in containers --> notes, tallies
//	  \--> attackers: swaps, evil objects in etcd, remounts, FIFOs, a FUSE that hangs
//
// Owns: what must hold of volumes beyond what test/volumediff compares.
// Consumes: test/bed; packages hang (a file system that never answers), reading
// (what readers may rely on) and witness (what runs in containers).
// Publishes: nothing.
//
// With -tags e2e run the attacks, the life of every type, and that updates are
// seen: a minute and a half. What is slow or measures has -tags volumeload:
//
//	go test -tags volumeload -timeout 40m -run '^$' -bench . -benchtime 1x -v ./test/volumes
//
// BenchmarkUpdates measures the upstream kubelet beside nodeagent; the others run
// under the agent of beds. NODEAGENT_BED_AGENT=kubelet runs the suite under the
// upstream kubelet, which says what is right; where it is weaker itself, what it
// does is told and not judged. With -print no figure is judged.
package volumes
