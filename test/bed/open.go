package bed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"nodeagent.dev/nodeagent/test/bed/keeper"
)

// Open finds a bed that runs, such as one made by `bed up`.
func Open(ctx context.Context, name string) (*Bed, error) {
	if !validName.MatchString(name) {
		return nil, fmt.Errorf("bed name %q: use at most 20 of a-z, 0-9 and inner dashes", name)
	}
	s, err := keeper.Load(filepath.Join(Base(), name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no bed %s (looked in %s); start it with `bed up --name %s`", name, Base(), name)
	}
	if err != nil {
		return nil, err
	}
	o := Options{Name: s.Name, Agent: s.Info["agent"], NodeName: s.Info["nodeName"], Standalone: s.Info["standalone"] == "true"}
	b := fromSpec(s, o)
	if !b.keeper.Alive(ctx) {
		return b, fmt.Errorf("bed %s has no keeper any more; clean up with `bed down --name %s`", name, name)
	}
	return b, nil
}

// Status lists the components and their processes.
func (b *Bed) Status(ctx context.Context) ([]keeper.Status, error) { return b.keeper.Status(ctx) }

// Names lists the beds of this machine, running or left over.
func Names() ([]string, error) {
	specs, bare, err := keeper.All(Base())
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(specs)+len(bare))
	for _, s := range specs {
		names = append(names, s.Name)
	}
	for _, dir := range bare {
		names = append(names, filepath.Base(dir))
	}
	return names, nil
}

// Down ends the named bed, running or left over; no bed is no error.
func Down(ctx context.Context, name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("bed name %q: use at most 20 of a-z, 0-9 and inner dashes", name)
	}
	dir := filepath.Join(Base(), name)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if s, err := keeper.Load(dir); err == nil {
		return (&Bed{Paths: Paths{Dir: dir}, Name: name, keeper: keeper.NewClient(s)}).Close()
	}
	left, err := keeper.Clean(ctx, dir)
	if err != nil {
		return fmt.Errorf("clean up bed %s: %w", name, err)
	}
	if len(left) > 0 {
		return fmt.Errorf("clean up bed %s: not removed: %v", name, left)
	}
	return nil
}
