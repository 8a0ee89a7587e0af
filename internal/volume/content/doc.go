// Package content puts files into the volumes that show what objects and pods say:
// configMap, secret, downwardAPI and projected.
//
// Owns: what lies in such a volume's directory, in the kubelet's layout, and the
// making and taking away of the directory itself ([Place]).
// Consumes: objects of the API server and pods, which others write: no path is used
// unchecked, and nothing that lies in a volume is trusted.
// Publishes: [Files], made by [FromConfigMap], [FromSecret] and [FromDownward]; [Place],
// which makes, fills and removes a volume; [Write], the filling alone.
//
//	<volume>/..2026_11_21_12_04_22.1234567890/key    the files
//	<volume>/..data -> ..2026_11_21_12_04_22.1234567890
//	<volume>/key -> ..data/key                       one link per name at the top
//
// A change is a new directory with a new time in its name, to which ..data is
// switched in one step, by a rename. So who reads finds all the old files or all the
// new ones, also while the agent is killed, and who watches ..data hears of it. The
// next Write tidies up after one that was cut off, by whichever agent.
//
// What was replaced stays for two seconds. The kubelet removes it at once, and who
// has followed ..data but not yet opened the file finds none; it happens once in some
// 100,000 reads while files change.
package content
