//go:build e2e

package monitoring

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"

	"nodeagent.dev/nodeagent/test/bed"
	"nodeagent.dev/nodeagent/test/bed/bedtest"
)

//go:embed testdata
var testdata embed.FS

// fill renders a file of testdata into one of the bed's folder and returns its path.
func fill(t *testing.T, b *bed.Bed, file string, values map[string]any) string {
	t.Helper()
	parsed, err := template.ParseFS(testdata, filepath.Join("testdata", file))
	must(t, "reading "+file, err)
	parsed.Option("missingkey=error")
	var text strings.Builder
	must(t, "filling in "+file, parsed.Execute(&text, values))
	path := filepath.Join(b.Dir, file)
	must(t, "writing "+file, os.WriteFile(path, []byte(text.String()), 0o600))
	return path
}

// authority is the certificate of the bed's authority.
func authority(b *bed.Bed) string { return filepath.Join(b.Dir, "pki", "ca.crt") }

// token writes a token of a service account of kube-system into a file and returns
// both.
func token(t *testing.T, b *bed.Bed, account string) (path, text string) {
	t.Helper()
	text = strings.TrimSpace(kubectl(t, b, "create", "token", account, "--namespace", "kube-system", "--duration", "1h"))
	path = filepath.Join(b.Dir, account+".token")
	must(t, "writing a token", os.WriteFile(path, []byte(text), 0o600))
	return path, text
}

// kubeconfig writes a kubeconfig for a service account of kube-system.
func kubeconfig(t *testing.T, b *bed.Bed, account string) string {
	t.Helper()
	config, err := b.RESTConfig()
	must(t, "looking for the API server", err)
	_, text := token(t, b, account)
	content, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "bed",
		"clusters": []any{map[string]any{"name": "bed", "cluster": map[string]any{
			"server": config.Host, "certificate-authority": authority(b),
		}}},
		"users":    []any{map[string]any{"name": account, "user": map[string]any{"token": text}}},
		"contexts": []any{map[string]any{"name": "bed", "context": map[string]any{"cluster": "bed", "user": account}}},
	})
	must(t, "encoding a kubeconfig", err)
	path := filepath.Join(b.Dir, account+".kubeconfig")
	must(t, "writing a kubeconfig", os.WriteFile(path, content, 0o600))
	return path
}

// running is an error when a program beside the bed has ended.
func running(ctx context.Context, c *bed.Component) error {
	s, err := c.Status(ctx)
	if err != nil {
		return fmt.Errorf("ask for the state of %s: %w", c.Name(), err)
	}
	if !s.Running {
		return fmt.Errorf("%s has ended (%s)", c.Name(), s.Exit)
	}
	return nil
}

// showLog shows the end of the log of a program beside the bed when the test fails.
func showLog(t *testing.T, c *bed.Component) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of %s (end):\n%s", c.Name(), bedtest.Tail(c.Log(), 6000))
		}
	})
}
