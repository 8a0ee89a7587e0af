// Package keeper is the parent process of one test bed. It starts and signals
// the bed's components, adopts every process they leave behind (shims,
// containers) and, when the connection of whoever started it closes, removes
// everything the bed made on the machine.
//
//	bed (a test) --hold pipe, control socket--> keeper --+-- etcd, kube-apiserver, ...
//	                                                     +-- containerd --(orphans adopted)-- shims, containers
//	                                                     +-- loopback registry
//
// Owns: the processes of the bed, its network bridge, its cgroups, and their
// removal; a Spec on disk says what to remove when the keeper itself was killed.
//
// Consumes: the Spec that the bed wrote, ip, iptables and /proc.
//
// Publishes: the control protocol (Client) and Leftovers.
package keeper
