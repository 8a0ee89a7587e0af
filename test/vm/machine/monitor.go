package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"
)

// monitor talks to QEMU (the protocol is QMP: one JSON object after the other).
type monitor struct {
	conn net.Conn
	in   *json.Decoder
}

// answerTimeout bounds one command.
const answerTimeout = 5 * time.Minute

func dialMonitor(ctx context.Context, path string, p *process) (*monitor, error) {
	for {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", path)
		if err == nil {
			m := &monitor{conn: conn, in: json.NewDecoder(conn)}
			var greeting json.RawMessage
			if err := m.in.Decode(&greeting); err != nil {
				return nil, errors.Join(fmt.Errorf("greet QEMU: %w", err), conn.Close())
			}
			return m, m.do("qmp_capabilities", nil, nil)
		}
		if why := p.why(); why != nil {
			return nil, why
		}
		if waitErr := pause(ctx, 20*time.Millisecond); waitErr != nil {
			return nil, fmt.Errorf("connect to QEMU: %w", errors.Join(waitErr, err))
		}
	}
}

// do runs a command; answer takes what it returns and may be nil.
func (m *monitor) do(command string, arguments, answer any) error {
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	if err := m.conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return fmt.Errorf("QEMU command %s: %w", command, err)
	}
	if err := json.NewEncoder(m.conn).Encode(request); err != nil {
		return fmt.Errorf("QEMU command %s: %w", command, err)
	}
	for {
		var reply struct {
			Return json.RawMessage `json:"return"`
			Error  *struct {
				Desc string `json:"desc"`
			} `json:"error"`
		}
		if err := m.in.Decode(&reply); err != nil {
			return fmt.Errorf("QEMU command %s: %w", command, err)
		}
		switch {
		case reply.Error != nil:
			return fmt.Errorf("QEMU command %s: %s", command, reply.Error.Desc)
		case reply.Return == nil: // an event
		case answer == nil:
			return nil
		default:
			if err := json.Unmarshal(reply.Return, answer); err != nil {
				return fmt.Errorf("QEMU command %s: %w", command, err)
			}
			return nil
		}
	}
}

// waitStatus asks with a command that answers a status until that is wanted.
func (m *monitor) waitStatus(ctx context.Context, command, wanted string) error {
	for {
		var now struct {
			Status string `json:"status"`
			Why    string `json:"error-desc"`
		}
		if err := m.do(command, nil, &now); err != nil {
			return err
		}
		if now.Status == wanted {
			return nil
		}
		if now.Status == "failed" {
			return fmt.Errorf("QEMU: %s: failed: %s", command, now.Why)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("QEMU: %s is %s, want %s: %w", command, now.Status, wanted, err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err() //nolint:wrapcheck // the caller says what was waited for
	case <-time.After(d):
		return nil
	}
}
