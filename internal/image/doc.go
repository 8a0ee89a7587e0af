// Package image makes images present on the node.
//
// Owns: the pulls in flight, and the rule who shares one.
// Consumes: an image service (the runtime), through the port [Service]; what a
// pod may show to a registry, through [Keyring]; who has shown what before,
// through [Records] (package pullrecord); a place for events.
// Publishes: the image a container can be made from, or a [pod.Failure] with the
// kubelet's words; [Puller.Waiting] for whoever explains why a pod waits.
//
// # Who shares a pull
//
// Containers share a pull when everything is the same that may decide how it
// ends: the reference as their pods have it, the credentials in the order in
// which they are tried, the namespace (runtimes have signature policies for
// each) and the runtime class (which may store images elsewhere). Who has other
// credentials pulls for himself: wrong ones spoil nobody's pull, and nobody gets
// an image by somebody else's. The secret that credentials were read from does
// not matter: two copies of one secret are one to the registry, and each pod is
// recorded with its own.
//
// The kubelet shares nothing, each container asks the runtime. What users see
// differs only in that fewer requests reach the registry.
//
// A pull goes on as long as one of those who share it still wants it. Nothing is
// retried here: the planner backs off and asks again.
//
// # Who may use an image that is there
//
// That is for [Records] to say, by imagePullCredentialsVerificationPolicy. A pod
// that has to show that it may have the image pulls it, though it is there; the
// runtime then asks the registry for little more than the manifest. With pull
// policy Never the image is said to be missing: its presence is not told to who
// may not have it.
package image
