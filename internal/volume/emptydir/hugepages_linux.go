package emptydir

import (
	"fmt"
	"strings"

	"github.com/moby/sys/mountinfo"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	helper "k8s.io/component-helpers/resource"
)

const hugetlbfs = "hugetlbfs"

// isHugePages reports whether a medium is HugePages or HugePages-<size>.
func isHugePages(m corev1.StorageMedium) bool {
	return m == corev1.StorageMediumHugePages || strings.HasPrefix(string(m), string(corev1.StorageMediumHugePagesPrefix))
}

// pageSizeOf says how large the pages of a volume are, by the kubelet's rule: what
// the medium names, if the pod or one of its containers requests such pages, or,
// if it names nothing, the one size that they request. The errors are the
// kubelet's words.
func pageSizeOf(medium corev1.StorageMedium, p *corev1.Pod) (string, error) {
	wanted, err := mediumSize(medium)
	if err != nil {
		return "", err
	}
	var found *resource.Quantity
	for _, requests := range requestsOf(p) {
		for name := range requests {
			text, isPages := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix)
			if !isPages {
				continue
			}
			size, err := resource.ParseQuantity(text)
			switch {
			case err != nil:
				return "", err
			case wanted != nil && wanted.Cmp(size) != 0:
				continue
			case found != nil && found.Cmp(size) != 0:
				return "", fmt.Errorf("medium: %s can't be used if container requests multiple huge page sizes", medium)
			}
			found = &size
		}
	}
	if found == nil {
		return "", fmt.Errorf("medium %s: hugePages storage requested, but there is no resource request for huge pages", medium)
	}
	return found.String(), nil
}

// mediumSize is the size that a medium names, nil if it names none.
func mediumSize(medium corev1.StorageMedium) (*resource.Quantity, error) {
	if medium == corev1.StorageMediumHugePages {
		return nil, nil //nolint:nilnil // no size, and no error
	}
	size, err := resource.ParseQuantity(strings.TrimPrefix(string(medium), string(corev1.StorageMediumHugePagesPrefix)))
	if err != nil {
		return nil, err
	}
	return &size, nil
}

// requestsOf are all that a pod requests; limits of huge pages equal them.
func requestsOf(p *corev1.Pod) []corev1.ResourceList {
	var all []corev1.ResourceList
	if helper.IsPodLevelResourcesSet(p) {
		all = append(all, p.Spec.Resources.Requests)
	}
	for i := range p.Spec.Containers {
		all = append(all, p.Spec.Containers[i].Resources.Requests)
	}
	for i := range p.Spec.InitContainers {
		all = append(all, p.Spec.InitContainers[i].Resources.Requests)
	}
	return all
}

// samePageSize checks that what is mounted has pages of the size that is asked
// for: it may be left of another pod's, or of a mount by hand.
func samePageSize(dir string, medium corev1.StorageMedium, p *corev1.Pod) error {
	if !isHugePages(medium) || medium == corev1.StorageMediumHugePages {
		return nil
	}
	wanted, err := mediumSize(medium)
	if err != nil {
		return err
	}
	mounted, err := mountedPageSize(dir)
	if err != nil {
		return err
	}
	if mounted.Cmp(*wanted) != 0 {
		return fmt.Errorf("pod %v: mounted dir %s pagesize '%s' and requested medium size '%s' differ", p.UID, dir, mounted, wanted)
	}
	return nil
}

// mountedPageSize reads the page size of the hugetlbfs on top of a directory.
func mountedPageSize(dir string) (*resource.Quantity, error) {
	infos, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(dir))
	if err != nil {
		return nil, fmt.Errorf("error listing mount points: %w", err)
	}
	if len(infos) == 0 {
		return nil, fmt.Errorf("mount point for %s not found", dir)
	}
	for option := range strings.SplitSeq(infos[len(infos)-1].VFSOptions, ",") {
		text, ok := strings.CutPrefix(option, "pagesize=")
		if !ok {
			continue
		}
		// The kernel writes 2M and 1024M, and means powers of two.
		size, err := resource.ParseQuantity(strings.TrimSuffix(text, "i") + "i")
		if err != nil {
			return nil, fmt.Errorf("error getting page size from '%s' mount option: %w", option, err)
		}
		return &size, nil
	}
	return nil, fmt.Errorf("no pagesize option specified for %s mount", dir)
}

func (p *plugin) mountHugePages(dir, pageSize string) error {
	err := p.mounter.MountSensitiveWithoutSystemd("nodev", dir, hugetlbfs, []string{"pagesize=" + pageSize}, nil)
	if err != nil {
		return fmt.Errorf("mount huge pages of %s on %s (does the kernel have pages of this size? see /sys/kernel/mm/hugepages): %w", pageSize, dir, err)
	}
	return nil
}
