// Package volumetest is what every volume type has to pass.
//
// Owns: the rules of the [volume.Plugin] port, as tests.
// Consumes: a plugin and volumes of its type.
// Publishes: [Run].
package volumetest
