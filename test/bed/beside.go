package bed

import (
	"context"
	"fmt"

	"nodeagent.dev/nodeagent/test/bed/keeper"
)

// Beside starts a program beside the bed's own components; the first of argv is
// its path. It ends with the bed, however the test ends. Its log is where those of
// components are. Whether it answers is for the caller to find out.
func (b *Bed) Beside(ctx context.Context, name string, argv ...string) (*Component, error) {
	if _, err := b.process(name); err == nil {
		return nil, fmt.Errorf("start %s beside the bed: it has a component of that name", name)
	}
	_, err := b.keeper.Start(ctx, keeper.Process{Name: name, Argv: argv, Env: b.environment(), Log: b.logPath(name)})
	if err != nil {
		return nil, fmt.Errorf("start %s beside the bed: %w", name, err)
	}
	return b.Component(name), nil
}

// FreePort finds a port for a program beside the bed, which no other bed takes as
// long as this one is there.
func (b *Bed) FreePort(ctx context.Context, use string) (int, error) {
	base := Base()
	unlock, err := keeper.LockBase(ctx, base)
	if err != nil {
		return 0, err
	}
	defer unlock()
	all, _, err := keeper.All(base)
	if err != nil {
		return 0, err
	}
	chosen, err := freePorts(ctx, all, use)
	if err != nil {
		return 0, err
	}
	// What is written says which ports are taken; who runs here does not read it.
	spec, err := keeper.Load(b.Dir)
	if err != nil {
		return 0, err
	}
	spec.Ports[use] = chosen[use]
	return chosen[use], spec.Save()
}
