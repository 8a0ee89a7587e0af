package agent

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"

	"nodeagent.dev/nodeagent/internal/config"
)

// debugVerbosity is the --v from which debug lines are shown, as klog users
// expect of it.
const debugVerbosity = 4

// Of one message of a library, this many lines are written per minute, and after
// those one in a hundred.
const (
	libraryLines = 20
	libraryEvery = 100
)

// levels are the log levels, which may change while the agent runs.
type levels struct{ own, libraries zap.AtomicLevel }

// set follows a --v. The libraries' chatter is theirs to explain: what they call
// info is debug here.
func (l *levels) set(verbosity int) {
	own, libraries := zapcore.InfoLevel, zapcore.WarnLevel
	if verbosity >= debugVerbosity {
		own, libraries = zapcore.DebugLevel, zapcore.DebugLevel
	}
	l.own.SetLevel(own)
	l.libraries.SetLevel(libraries)
}

// newLogger returns the process's logger and makes klog, which the Kubernetes
// libraries speak to, write through it.
func newLogger(cfg config.Logging) (*zap.Logger, *levels, error) {
	enc := zap.NewProductionEncoderConfig()
	enc.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	enc.EncodeDuration = zapcore.StringDurationEncoder
	var encoder zapcore.Encoder
	switch cfg.Format {
	case "json":
		encoder = zapcore.NewJSONEncoder(enc)
	case "text", "":
		enc.EncodeLevel = zapcore.CapitalLevelEncoder
		encoder = zapcore.NewConsoleEncoder(enc)
	default:
		return nil, nil, fmt.Errorf("logging format %q is neither text nor json", cfg.Format)
	}
	l := &levels{zap.NewAtomicLevel(), zap.NewAtomicLevel()}
	l.set(cfg.Verbosity)
	out := zapcore.Lock(os.Stderr)
	log := zap.New(zapcore.NewCore(encoder, out, l.own))
	// What strangers can make the libraries say is bounded.
	klog.SetLoggerWithOptions(zapr.NewLogger(zap.New(newSampled(zapcore.NewCore(encoder, out, l.libraries))).Named("lib")))
	return log, l, nil
}

// sampled is a core that writes some of many equal lines only. Its sampler is made
// when there is a line to write, which may be never: it takes half a MiB.
type sampled struct {
	zapcore.Core
	sampler func() zapcore.Core
}

func newSampled(core zapcore.Core) sampled {
	return sampled{core, sync.OnceValue(func() zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Minute, libraryLines, libraryEvery)
	})}
}

// With implements zapcore.Core. Lines are counted together, whatever their fields.
func (s sampled) With(fields []zapcore.Field) zapcore.Core {
	return sampled{s.Core.With(fields), sync.OnceValue(func() zapcore.Core { return s.sampler().With(fields) })}
}

// Check implements zapcore.Core.
func (s sampled) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !s.Enabled(entry.Level) {
		return checked
	}
	return s.sampler().Check(entry, checked)
}
