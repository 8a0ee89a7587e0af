package build

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// SourceEnv overrides where the checkout is looked for.
const SourceEnv = "NODEAGENT_BED_SOURCE"

const moduleLine = "module nodeagent.dev/nodeagent\n"

// Checkout finds the root folder of the checkout: from the environment, from
// where this package was compiled, or upwards from the current folder.
func Checkout() (string, error) {
	if dir := os.Getenv(SourceEnv); dir != "" {
		if !isCheckout(dir) {
			return "", fmt.Errorf("%s=%s is not a checkout of nodeagent (no go.mod of it there)", SourceEnv, dir)
		}
		return dir, nil
	}
	var starts []string
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		starts = append(starts, filepath.Dir(file))
	}
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	for _, start := range starts {
		for dir := start; ; dir = filepath.Dir(dir) {
			if isCheckout(dir) {
				return dir, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return "", errors.New("the checkout of nodeagent was not found above this program's source or the current folder; " +
		"run inside the checkout or set " + SourceEnv)
}

func isCheckout(dir string) bool {
	content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	return err == nil && (bytes.HasPrefix(content, []byte(moduleLine)) || bytes.Contains(content, []byte("\n"+moduleLine)))
}
