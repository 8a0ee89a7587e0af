// Package bed is a node to test on: real etcd, Kubernetes control plane,
// containerd, runc and CNI plugins, all started on loopback with keys, folders,
// cgroups and a network of their own, and a node agent: nodeagent or, to
// compare with, the upstream kubelet. Nothing is fetched but Go modules and
// Debian packages, and nothing is left behind.
//
//	Options --> New --> build (programs) + images + pki, configuration files
//	                --> keeper process (parent of everything, tears down)
//	                --> etcd > kube-apiserver > controller-manager, scheduler
//	                    containerd > images > agent
//
// A test calls Start and uses the Bed; the bed ends with the test, also when
// the test is killed. People use the command in test/bed/cmd/bed.
//
// Owns: the folder of each bed (below /tmp/nab), its ports and subnet, and the
// configuration of every component.
//
// Consumes: packages build, images and keeper.
//
// Publishes: Bed with clients, paths and Component handles for fault tests.
package bed
