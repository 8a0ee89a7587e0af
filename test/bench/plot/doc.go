// Command plot draws what "make bench" measured.
//
// Owns: the pictures.
// Consumes: bench.json (package bench).
// Publishes: in a folder, each for light and for dark pages, latency.svg and
// latency.png (how the samples of each figure are distributed), timeline.svg and
// timeline.png (how many of the pods that were made at once are ready, and gone,
// after a time).
//
//	plot [-formats svg,png] bench.json FOLDER
//
// It is a module of its own, so that what it takes to draw is no part of the
// product.
package main
