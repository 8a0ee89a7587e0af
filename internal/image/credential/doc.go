// Package credential finds what an image can be pulled with.
//
// Owns: the reading of Docker configurations (in secrets and in the node's own
// files), the rule which entry is for which image, and the exec credential
// providers: their configuration, their processes and what they answered.
// Consumes: a pod's pull secrets; files of the node; provider programs; service
// accounts and their tokens through the ports [ServiceAccounts] and [Tokens].
// Publishes: [Store.For], the credentials for an image in the order they are to
// be tried, each with where it came from ([Source]).
//
// Sources come in the kubelet's order: secrets, files of the node, providers.
// Within one, the entry with the greatest key comes first, which puts longer
// paths before shorter ones and names before globs.
//
// No password, token or auth field is logged or put into an error. That is why
// errors of parsers are not wrapped here, and why what a provider writes to its
// standard error is counted but not shown.
package credential
