// Package cadvisor is /metrics/cadvisor: what the node's cgroups use, under the
// names, labels and kinds of rows that monitoring knows from the cAdvisor inside the
// kubelet.
//
// Owns: the families and their labels, the text that a scrape gets, and what only
// this page shows of the machine: its processors, memory modules and file systems.
// Consumes: rows (Source), facts about the machine (Facts).
// Publishes: [Handler].
//
// Nothing runs between two scrapes, and nothing is kept but what file systems held
// when the rows were read: a reading may serve several scrapes, and a figure must not
// change while its timestamp does not. A scrape asks the source once,
// then goes through the rows family by family and writes the text as it goes: what is
// held is the rows, one buffer, and a compressor.
//
// The order of the labels within a line is not cAdvisor's: those that all lines of a
// row have are rendered once. Parsers do not care.
package cadvisor
