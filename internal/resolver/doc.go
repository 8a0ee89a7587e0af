// Package resolver reads the node's resolver file and says what of it, and of the DNS
// settings of pods, does not fit.
//
// Owns: the reading of resolv.conf(5) as the kubelet reads it, so that a pod resolves
// names alike under either agent, and the words about DNS that users see as events.
// Consumes: the file that resolvConf names, and what package containerspec takes for a
// pod's DNS.
// Publishes: [Parse], [File], [File.CheckLimits], [Messages].
package resolver
