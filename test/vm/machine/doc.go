// Package machine is a machine of its own for tests: Debian with systemd as
// process 1, cgroup v2 and the test bed's containerd, under QEMU without KVM. It
// has what the machine that runs the tests may lack, and it can be rebooted.
//
//	mmdebstrap --> rootfs.tar --+-- guest/, programs and images of the bed
//	                            v
//	                        disk.raw --> first boot --> state (memory, devices)
//	                                                      |
//	    Machine: a throw-away copy of both, running <-----+  in seconds
//
// Owns: the QEMU process, which does not outlive ours, and two folders in the
// build cache of the bed: vm-rootfs-* and vm-image-*.
//
// Consumes: packages build and images of the bed; Debian's mmdebstrap, QEMU and
// OpenSSH; the files in guest/, which have the paths they get in the machine.
//
// Publishes: Image (what machines are made from) and Machine (run a command, put
// files, reboot).
package machine
