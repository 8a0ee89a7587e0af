// Package chaos kills the agent again and again while pods of every kind come,
// fail, finish and go, and looks afterwards for what should not be: a process
// started twice, a restart nobody can explain, a status that differs from that
// of an undisturbed run, and anything that is left on the machine. The test is
// built with -tags e2e and needs root.
//
//	kinds --> life: create, settle, delete, gone --> journals of the processes
//	                      ^                     \--> last statuses in the API
//	            killer ---/ SIGKILL, start             \--> expected: exit codes,
//	                                                        policies, quiet lives
//
// Owns: what must hold whenever an agent dies.
// Consumes: test/bed, and package test/diff to compare statuses.
// Publishes: nothing.
//
// By default few kills are made. The acceptance is
//
//	go test -tags e2e -timeout 25m -run TestKills -v ./test/chaos -args -kills=100
//
// -seed=N repeats the moments of the kills. With NODEAGENT_BED_AGENT=kubelet the
// same is done to the upstream kubelet; what is found is told and not judged.
package chaos
