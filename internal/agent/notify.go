package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
)

// minWatchdog is the shortest watchdog that can be served honestly, as in the
// kubelet.
const minWatchdog = time.Second

// notify tells systemd that the agent is up, and then, if the unit asks for a
// watchdog, that it still is, as long as the pod loop answers.
func notify(ctx context.Context, alive func(context.Context) error, log *zap.Logger) error {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("reading the systemd watchdog settings: %w", err)
	}
	if interval > 0 && interval <= minWatchdog {
		return errors.New("the unit's WatchdogSec is one second or less; set it to more, or to 0 for none")
	}
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		log.Warn("cannot tell systemd that the agent is up", zap.Error(err))
	}
	if interval == 0 {
		return nil
	}
	tick := time.NewTicker(interval / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := alive(ctx); err != nil {
			log.Error("not answering the watchdog: the pod loop does not answer", zap.Error(err))
			continue
		}
		if _, err := daemon.SdNotify(false, daemon.SdNotifyWatchdog); err != nil {
			log.Warn("cannot answer the watchdog", zap.Error(err))
		}
	}
}
