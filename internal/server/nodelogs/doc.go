// Package nodelogs answers questions about the logs of the node's services: the
// query parameters of /logs/ (KubeletConfiguration: enableSystemLogQuery).
//
// Owns: what a query may ask, and the programs that it starts.
// Consumes: the URL of a request, journalctl (found in PATH), and the files below
// the log directory.
// Publishes: text, to the writer of a request.
//
//	URL ─> Parse (decide.go) ─> Check ─┬─> services ─> journalctl, or files of that name
//	                                   └─> one file, which the caller serves
//
// A query becomes arguments of journalctl, each of which begins with an option's
// name, and never a shell's; names of services are of letters, digits and -_.:@.
// No file outside of the log directory is read, and nothing that is no file. All
// ends after 30 seconds, or with the request.
//
// https://kubernetes.io/docs/concepts/cluster-administration/system-logs/#log-query
package nodelogs
