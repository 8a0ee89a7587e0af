package agent

import (
	"fmt"
	"os"

	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"

	"nodeagent.dev/nodeagent/internal/config"
)

// debugVerbosity is the --v from which debug lines are shown, as klog users
// expect of it.
const debugVerbosity = 4

// newLogger returns the process's logger and makes klog, which the Kubernetes
// libraries speak to, write through it.
func newLogger(cfg config.Logging) (*zap.Logger, error) {
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
		return nil, fmt.Errorf("logging format %q is neither text nor json", cfg.Format)
	}
	level := zapcore.InfoLevel
	if cfg.Verbosity >= debugVerbosity {
		level = zapcore.DebugLevel
	}
	log := zap.New(zapcore.NewCore(encoder, zapcore.Lock(os.Stderr), level))
	// The libraries' chatter is theirs to explain; what they call info is debug here.
	klog.SetLoggerWithOptions(zapr.NewLogger(log.Named("lib").WithOptions(zap.IncreaseLevel(libraryLevel(cfg.Verbosity)))))
	return log, nil
}

func libraryLevel(verbosity int) zapcore.Level {
	if verbosity >= debugVerbosity {
		return zapcore.DebugLevel
	}
	return zapcore.WarnLevel
}
