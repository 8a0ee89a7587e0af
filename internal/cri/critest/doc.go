// Package critest checks that a runtime does what package cri promises.
//
// Owns: the suite and the scripts of its containers.
// Consumes: a [cri.Client] and an image that has /bin/sh.
// Publishes: [Run], and the names of its containers, so that a fake can play them.
//
// The same suite runs against the fake of the tests and against real runtimes,
// which is what keeps the fake honest.
package critest
