package credential

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"nodeagent.dev/nodeagent/internal/pod"
)

// maxDockerConfig bounds a Docker configuration, in bytes. A secret cannot be
// larger either.
const maxDockerConfig = 1 << 20

// errAuth is a bad auth field. What is in the field is not told.
var errAuth = errors.New("an auth field is not base64 of user:password")

// entry is what a Docker configuration says about one registry. As for the
// kubelet, an identity token is not read: an entry that has nothing else is one
// with an empty user and password.
type entry struct {
	username, password, email string
}

// UnmarshalJSON reads an entry. A non-empty auth field wins over user and
// password; it may be padded or not.
func (e *entry) UnmarshalJSON(data []byte) error {
	var fields struct {
		Username string `json:"username"`
		Password string `json:"password"`
		Email    string `json:"email"`
		Auth     string `json:"auth"`
	}
	if err := json.Unmarshal(data, &fields); err != nil {
		return err
	}
	*e = entry{username: fields.Username, password: fields.Password, email: fields.Email}
	if fields.Auth == "" {
		return nil
	}
	encoding := base64.RawStdEncoding
	if strings.HasSuffix(strings.TrimSpace(fields.Auth), "=") {
		encoding = base64.StdEncoding
	}
	decoded, err := encoding.DecodeString(fields.Auth)
	if err != nil {
		return errAuth
	}
	user, password, ok := strings.Cut(string(decoded), ":")
	if !ok {
		return errAuth
	}
	e.username, e.password = user, password
	return nil
}

// auth is the entry as the runtime is told.
func (e entry) auth() pod.RegistryAuth {
	return pod.RegistryAuth{Username: e.username, Password: e.password}
}

// hash is the kubelet's: the SHA-256, in hex, of the credential as JSON, empty
// fields left out. Records that a kubelet wrote are compared with it.
func (e entry) hash() string {
	text, err := json.Marshal(struct { //nolint:gosec // the text goes no further than into the hash
		Username string `json:"username,omitempty"`
		Password string `json:"password,omitempty"`
		Email    string `json:"email,omitempty"`
	}{e.username, e.password, e.email})
	if err != nil {
		return "" // three strings cannot fail; an empty hash matches no record
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// parseConfigJSON reads the form of ~/.docker/config.json and of secrets of type
// kubernetes.io/dockerconfigjson.
func parseConfigJSON(data []byte) (map[string]entry, error) {
	var file struct {
		Auths map[string]entry `json:"auths"`
	}
	err := unmarshal(data, &file)
	return file.Auths, err
}

// parseDockercfg reads the old form, ~/.dockercfg and secrets of type
// kubernetes.io/dockercfg: the entries without a frame.
func parseDockercfg(data []byte) (map[string]entry, error) {
	var file map[string]entry
	err := unmarshal(data, &file)
	return file, err
}

// unmarshal is json.Unmarshal with errors that show nothing of the content.
func unmarshal(data []byte, into any) error {
	if len(data) > maxDockerConfig {
		return fmt.Errorf("it has %d bytes, more than the %d that are read", len(data), maxDockerConfig)
	}
	err := json.Unmarshal(data, into)
	if err == nil {
		return nil
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("it is not JSON (at byte %d)", syntax.Offset)
	}
	if errors.Is(err, errAuth) {
		return errAuth
	}
	return errors.New("it is JSON but no Docker configuration: a field has the wrong type")
}
