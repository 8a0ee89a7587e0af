// Package check looks at what a node agent is about to work with, and says what
// is wrong before pods have to find out.
//
// Owns: the lines of "nodeagent check".
// Consumes: the configuration, the files it names, the API server and the
// runtime. It changes nothing, and can run beside an agent.
// Publishes: [Run].
//
// Every line is about one thing. No line has a key, a token or a password.
package check
