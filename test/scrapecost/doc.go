// Package scrapecost measures what monitoring costs: the processor time that an
// agent takes of a node with 110 pods while nobody asks it for anything, and while
// somebody fetches all its figures every 15 seconds. The upstream kubelet and
// nodeagent have the same pods on the same bed (package bed) in turn, several
// times in one run; the containers go on running when the agents change.
//
// In a further minute in which nobody asks a profile of nodeagent is taken: no
// sample of it may be in the code that counts what pods use.
//
//	make scrapecost
//	go test -tags e2e -timeout 60m -v ./test/scrapecost -args -for=2m -rounds=2
//
// With -print nothing is judged. What the runtime and its shims take is shown
// too: an agent that lets them count saves nothing. What another program does on
// the machine at the time makes requests slower, but processor time hardly more.
//
// Owns: the limit, a third of what the kubelet takes.
// Consumes: test/bed.
// Publishes: nothing.
package scrapecost
