// Package volumetest is what every volume type has to pass.
//
// Owns: the rules of the [volume.Plugin] and [volume.Live] ports, as tests.
// Consumes: a plugin and volumes of its type.
// Publishes: [Run] and [RunLive].
package volumetest
