package agent

import (
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestLibrariesAreSampledTogether(t *testing.T) {
	t.Parallel()
	core, lines := observer.New(zapcore.WarnLevel)
	log := zap.New(newSampled(core))
	log.Info("below the level")
	for i := range 3 * libraryLines {
		log.With(zap.Int("n", i)).Warn("the same")
	}
	log.Warn("another")
	all := lines.All()
	if len(all) != libraryLines+1 || all[libraryLines].Message != "another" {
		t.Errorf("%d lines, want the same one %d times and another", len(all), libraryLines)
	}
	if n := all[libraryLines-1].ContextMap()["n"]; n != int64(libraryLines-1) {
		t.Errorf("line %d has n = %v", libraryLines, n)
	}
}
