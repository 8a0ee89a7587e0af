// Package build makes the programs of the test bed from source: the real
// components (Kubernetes, etcd, containerd, runc, CNI plugins, crictl) from the
// Go modules pinned under test/bed/components, and programs of this checkout.
//
//	components/*/go.mod --> Builder.Ensure --> cache/<component>-<version>-<hash>/<component>
//	checkout            --> Builder.Checkout --> cache/checkout-<hash>/<program>
//
// Owns: the build cache outside the checkout, its locks and the list of
// components with their build flags.
//
// Consumes: the Go command, gcc for the programs that need cgo, and Debian
// packages through apt-get.
//
// Publishes: paths of finished programs. A path once returned never changes
// its content.
package build
