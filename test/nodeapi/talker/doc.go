// Command talker is the server in the pods that package nodeapi forwards ports
// to. It listens on three ports of all addresses:
//
//	7001 answers with what it gets
//	7002 answers with the SHA-256 sum of the first 100,000 bytes, and hangs up
//	7003 says hello and hangs up
//
// Owns: nothing. Consumes: nothing. Publishes: nothing.
package main
