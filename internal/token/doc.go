// Package token gets tokens of service accounts, bound to pods, and keeps them
// until they are due for a refresh.
//
// Owns: the tokens in memory, one for each distinct request.
// Consumes: the TokenRequest API, through the port [Client].
// Publishes: [Manager.Token], and with [Manager.TokenDue] when to ask again.
//
// Nothing runs in the background: a token is refreshed by whoever asks for it after
// it was due. No token appears in a log line or an error.
package token
