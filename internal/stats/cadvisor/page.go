package cadvisor

import (
	"slices"
	"strconv"
	"time"

	"nodeagent.dev/nodeagent/internal/stats"
)

// The types of families.
const (
	gauge   = "gauge"
	counter = "counter"
)

// family is one family, and how its lines of a row are written.
type family struct {
	name, help, kind string
	lines            func(t *text, r *row)
}

// row is a cgroup with what all of its lines share.
type row struct {
	*stats.Row
	// labels is the inside of the braces; stamp is a blank and when it was read, in
	// milliseconds.
	labels, stamp []byte
	// devices and mounts have no name twice; idle are the mounts of which no device
	// has the name.
	devices      []*stats.Device
	mounts, idle []*filesystem
	page         *page
}

// page is what one scrape shows.
type page struct {
	rows  []row
	facts Facts
	// now and nowStamp are when it was asked for, in seconds and as a stamp.
	now      uint64
	nowStamp []byte
}

func newPage(rows []stats.Row, mounts []filesystem, facts Facts) *page {
	now := time.Now()
	p := &page{rows: make([]row, 0, len(rows)), facts: facts, now: uint64(now.Unix()), nowStamp: stamp(now)}
	arena, seen := make([]byte, 0, 256*len(rows)), make(map[string]bool, len(rows))
	for i := range rows {
		if seen[rows[i].Path] {
			continue // two daemons in one cgroup
		}
		seen[rows[i].Path] = true
		p.rows = append(p.rows, row{Row: &rows[i], page: p})
		r := &p.rows[len(p.rows)-1]
		begin := len(arena)
		arena = appendLabels(arena, r.Row)
		r.labels = arena[begin:len(arena):len(arena)]
		r.stamp = stamp(r.At)
		r.name(mounts)
	}
	return p
}

// name collects what lines are about, each name once: a second line with the same
// labels would make Prometheus refuse the page.
func (r *row) name(mounts []filesystem) {
	if r.IO != nil {
		for i := range r.IO.Devices {
			d := &r.IO.Devices[i]
			if !slices.ContainsFunc(r.devices, func(o *stats.Device) bool { return o.Name == d.Name }) {
				r.devices = append(r.devices, d)
			}
		}
	}
	if r.Kind != stats.KindRoot {
		return
	}
	for i := range mounts {
		m := &mounts[i]
		r.mounts = append(r.mounts, m)
		if !slices.ContainsFunc(r.devices, func(o *stats.Device) bool { return o.Name == m.name }) {
			r.idle = append(r.idle, m)
		}
	}
}

func (p *page) write(t *text, f *family) {
	t.family(f.name, f.help, f.kind)
	for i := range p.rows {
		f.lines(t, &p.rows[i])
	}
}

// appendLabels renders the labels of all lines of a row.
func appendLabels(b []byte, r *stats.Row) []byte {
	b = appendLabel(b, "container", r.Container)
	b = append(b, ',')
	b = appendLabel(b, "id", r.Path)
	b = append(b, ',')
	b = appendLabel(b, "image", r.Image)
	b = append(b, ',')
	b = appendLabel(b, "name", r.RuntimeID)
	b = append(b, ',')
	b = appendLabel(b, "namespace", r.Pod.Namespace)
	b = append(b, ',')
	return appendLabel(b, "pod", r.Pod.Name)
}

func stamp(at time.Time) []byte { return strconv.AppendInt([]byte{' '}, at.UnixMilli(), 10) }

// number writes a line of a whole number.
func (t *text) number(r *row, n uint64) {
	t.begin(r.labels)
	t.value()
	t.buf = strconv.AppendUint(t.buf, n, 10)
	t.end(r.stamp)
}

// named writes a line of a whole number with one more label.
func (t *text) named(r *row, key, value string, n uint64) {
	t.begin(r.labels)
	t.label(key, value)
	t.value()
	t.buf = strconv.AppendUint(t.buf, n, 10)
	t.end(r.stamp)
}

// seconds writes a line of seconds from nanoseconds.
func (t *text) seconds(r *row, ns uint64) {
	t.begin(r.labels)
	t.value()
	t.buf = appendDecimal(t.buf, ns, 9)
	t.end(r.stamp)
}

// plain writes a line of a whole number that has no timestamp.
func (t *text) plain(r *row, n uint64) {
	t.begin(r.labels)
	t.value()
	t.buf = strconv.AppendUint(t.buf, n, 10)
	t.end(nil)
}

// count ends the labels and writes a whole number.
func (t *text) count(n uint64) {
	t.value()
	t.buf = strconv.AppendUint(t.buf, n, 10)
}
