package nfs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"nodeagent.dev/nodeagent/internal/volume"
)

// patience is how long an unmount may take before it is forced, as for the kubelet.
const patience = time.Minute

// unmount detaches all of a volume, with force if it has to be. What hangs in the
// kernel is left behind when ctx ends.
func (p *plugin) unmount(ctx context.Context, ref volume.Ref) error {
	gently := make(chan error, 1)
	go func() { gently <- p.detach(ref, ctx) }()
	timer := time.NewTimer(patienceWithin(ctx))
	defer timer.Stop()
	select {
	case err := <-gently:
		return err
	case <-ctx.Done():
		return fmt.Errorf("unmount %s, whose server may be gone: %w", ref.Dir(), ctx.Err())
	case <-timer.C:
	}
	forced := make(chan error, 1)
	go func() { forced <- p.force(ref.Dir()) }()
	var err error
	select {
	case err = <-forced:
	case <-ctx.Done():
		return fmt.Errorf("unmount %s by force, since its server does not answer: %w", ref.Dir(), ctx.Err())
	}
	if mounted, tableErr := ref.Mounted(); tableErr == nil && mounted == "" {
		return nil // one of the two has done it
	}
	if err == nil {
		err = errors.New("something is still mounted there")
	}
	return fmt.Errorf("unmount %s by force, since its server does not answer: %w", ref.Dir(), err)
}

// patienceWithin leaves time for force before the context ends.
func patienceWithin(ctx context.Context) time.Duration {
	deadline, is := ctx.Deadline()
	if !is {
		return patience
	}
	return min(patience, time.Until(deadline)*3/4)
}

// forceBelow unmounts what is at or below dir, the newest first. What the server
// still owes fails.
func forceBelow(dir string) error {
	infos, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return fmt.Errorf("read the mount table: %w", err)
	}
	var failed []error
	for i := range infos {
		info := infos[len(infos)-1-i]
		if err := unix.Unmount(info.Mountpoint, unix.MNT_FORCE|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			failed = append(failed, fmt.Errorf("%s (%s): %w", info.Mountpoint, info.FSType, err))
		}
	}
	return errors.Join(failed...)
}
