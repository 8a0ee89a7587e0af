// Command witness is what tests run in containers to see what becomes of volumes.
//
//	witness watch OUT FILE...        notes each new content of the files and when it came
//	witness pairs N DIR A B OUT      N readers of two files until SIGTERM, then a tally
//	witness swap A B                 exchanges two names until it is killed
//	witness special DIR              makes a FIFO, a socket, devices and symlinks
//
// Owns: what it writes to OUT.
// Consumes: package reading.
// Publishes: nothing.
package main
