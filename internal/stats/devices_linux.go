package stats

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// name finds what block devices are called. The kernel has a link for each number;
// it changes when disks come and go, so it is read anew for each read of everything.
type deviceNames struct {
	sys   string
	known map[[2]uint64]string
}

func (d *deviceNames) of(major, minor uint64) string {
	key := [2]uint64{major, minor}
	if name, ok := d.known[key]; ok {
		return name
	}
	name := d.look(major, minor)
	if d.known == nil {
		d.known = map[[2]uint64]string{}
	}
	d.known[key] = name
	return name
}

// maxLink is longer than any such link.
const maxLink = 1024

func (d *deviceNames) look(major, minor uint64) string {
	link := make([]byte, maxLink)
	path := d.sys + "/dev/block/" + strconv.FormatUint(major, 10) + ":" + strconv.FormatUint(minor, 10)
	n, err := unix.Readlink(path, link)
	if err != nil || n >= maxLink {
		return ""
	}
	for i := n - 1; i >= 0; i-- {
		if link[i] == '/' {
			return "/dev/" + string(link[i+1:n])
		}
	}
	return ""
}

// name names the devices of rows.
func (d *deviceNames) name(rows []Row) {
	for i := range rows {
		if rows[i].IO == nil {
			continue
		}
		for j := range rows[i].IO.Devices {
			dev := &rows[i].IO.Devices[j]
			dev.Name = d.of(dev.Major, dev.Minor)
		}
	}
}
