// Package images makes the container images of the test bed from Debian
// packages and the checkout; none is ever pulled.
//
// Owns: what is inside the pause, busybox and agnhost images, and what stands
// for the other images of upstream's tests.
//
// Consumes: the build cache, Debian's busybox-static and bash-static, gcc.
//
// Publishes: archives for containerd to import, kept in the build cache, and
// Small for tests that want an image of their own.
package images
