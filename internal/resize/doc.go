// Package resize gives the containers of a running pod, and the pod's cgroup, the
// resources that the pod has been allocated (KEP-1287).
//
// Owns: the order. One resource after the other, memory first; what grows, grows
// from the pod's cgroup down to the containers, what shrinks, from the containers
// up; and nothing is begun that would take memory away that is in use.
// Consumes: [Cgroups] and [Runtime].
// Publishes: what the containers have afterwards, also when it fails half-way.
package resize
