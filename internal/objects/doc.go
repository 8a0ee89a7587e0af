// Package objects keeps what pods of this node refer to, and the Services,
// RuntimeClasses and ClusterTrustBundles of the cluster, as the API server has them.
//
// Owns: the watches of these objects and the copies that the watches keep.
// Consumes: list and watch of single ConfigMaps and Secrets (the node authorizer
// allows a node no more than metadata.name=<name> of what its pods name), of the
// Services of all namespaces that have an address (spec.clusterIP!=None), of all
// RuntimeClasses, and of all ClusterTrustBundles while a pod wants one.
// Publishes: [Store.ConfigMap], [Store.Secret], [Store.Services],
// [Store.RuntimeHandler], [Store.TrustAnchorsByName], [Store.TrustAnchorsBySigner],
// and [Deps.Changed] for the pods that an object matters to.
//
//	Want, Drop ─> refs ─first, last─> Run ─> one reflector per object ─> entry ─> Changed
//	                                    └──> one reflector of services, one of classes ─> snapshot
//
// An object is watched while at least one pod wants it; one that is immutable is
// read once and kept. Watched objects cost a few goroutines each, and one stream of
// the API connection, as in the kubelet. Nothing is polled: while the API server is
// away, what is known stays valid and the reflectors try again, each with growing
// pauses of its own.
//
// What is handed out is shared by all who ask and is never to be changed. The data
// of objects appears in no log line.
package objects
