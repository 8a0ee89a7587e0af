package rotate

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"
)

// implausible is how far in the future the time of a rotated file may be. The rest
// was not named by an agent on this clock, and is removed first.
const implausible = 25 * time.Hour

// file is a file beside a log, with the log's name at its beginning.
type file struct {
	name       string
	at         string // when it was rotated; empty: that is not in its name
	compressed bool
	size       int64 // bytes
	regular    bool
}

// sorted takes apart what lies beside the log live: what rotation has kept, oldest
// first, and what it has left behind when it was cut off. busy is the name of a
// file that is being written.
func sorted(live string, found []file, now time.Time, busy string) (kept, leftover []file) {
	latest := now.Add(implausible).Format(layout)
	names := make(map[string]bool, len(found))
	for _, f := range found {
		names[f.name] = f.regular
	}
	for _, f := range found {
		switch {
		case f.name == busy:
			continue
		case !f.regular, strings.HasSuffix(f.name, unfinished), names[f.name+zipped]:
			leftover = append(leftover, f)
			continue
		}
		if at, compressed, ok := Parse(live, f.name); ok && at <= latest {
			f.at, f.compressed = at, compressed
		}
		kept = append(kept, f)
	}
	slices.SortFunc(kept, func(a, b file) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.name, b.name)) })
	return kept, leftover
}

// excess is how many of the files, which are in order, have to go so that no more
// than count of them with no more than budget bytes are left.
func excess(kept []file, count int, budget int64) int {
	n := max(len(kept)-max(count, 0), 0)
	sum := sizeOf(kept[n:])
	for ; n < len(kept) && sum > budget; n++ {
		sum -= kept[n].size
	}
	return n
}

func sizeOf(files []file) (sum int64) {
	for _, f := range files {
		sum += f.size
	}
	return sum
}

// newest is the time of the file that was rotated last; empty: there is none.
func newest(kept []file) string {
	if len(kept) == 0 {
		return ""
	}
	return kept[len(kept)-1].at
}

// uncompressed are the files that are to be compressed: all but the last one, which
// log shippers may still read.
func uncompressed(kept []file) (files []file) {
	for i, f := range kept {
		if i < len(kept)-1 && f.at != "" && !f.compressed {
			files = append(files, f)
		}
	}
	return files
}

// Pace of looks at a log that is written to.
const (
	// soonest is the shortest time between two looks at a log.
	soonest = 50 * time.Millisecond
	// latest bounds the time for which a log that is written to is left alone.
	latest = 500 * time.Millisecond
	// fast is a rate of writing for which there has to be room until the next look,
	// in bytes per second.
	fast = 256 << 20
)

// spell is how long a log may be left alone although it is written to: what a fast
// writer writes meanwhile has to fit beside what is kept.
func spell(maxSize int64, maxFiles int, interval time.Duration) time.Duration {
	room := float64(maxSize) * float64(maxFiles)
	d := time.Duration(min(room/fast, 1) * float64(time.Second))
	return min(max(d, soonest), latest, max(interval, soonest))
}

// limit is how many bytes a log may take in all: twice what is configured.
func limit(maxSize int64, maxFiles int) int64 {
	if maxSize > math.MaxInt64/4/int64(maxFiles) {
		return math.MaxInt64 / 2
	}
	return 2 * maxSize * int64(maxFiles)
}

// budget is how many bytes rotated files may have in all, those which only readers
// hold included, so that the next log fits below the limit: it may grow as far as
// the last one, and by the size at which it is rotated while nobody is able to look.
func budget(maxSize int64, maxFiles int, last int64) int64 {
	return limit(maxSize, maxFiles) - max(last, maxSize) - maxSize
}

// fullIn is when a log will be full at the rate at which it grew by grown bytes.
func fullIn(size, maxSize, grown int64, took time.Duration) time.Duration {
	if grown <= 0 || took <= 0 {
		return farAway
	}
	left := float64(max(maxSize-size, 0)) / float64(grown) * float64(took)
	return time.Duration(min(left, float64(farAway)))
}

const farAway = 24 * time.Hour
