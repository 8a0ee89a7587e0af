// Package vm is a node in a machine of its own, and tests of what only such a node
// has: cgroup v2, systemd and real reboots. The control plane is that of a test
// bed and runs on the host; the node, with containerd and nodeagent or the upstream
// kubelet, is a virtual machine (package machine) and has a kubelet's usual paths.
//
//	bed without agent: etcd, kube-apiserver, ... on 127.0.0.1
//	      ^ 10.0.2.2                      | the bed's node address, forwarded
//	      |                               v
//	machine: systemd > containerd.service, agent.service
//
// The tests have the build tag vm: "make test-vm".
//
// Owns: the machine of each node and the configuration of the agent in it.
//
// Consumes: packages bed and machine.
//
// Publishes: Node, for the tests here and the command in cmd/vm.
package vm
