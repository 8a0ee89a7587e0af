package serving

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.uber.org/zap"
	certutil "k8s.io/client-go/util/cert"
)

// The names and modes that the kubelet gives its self-signed pair.
const (
	certName, keyName = "kubelet.crt", "kubelet.key"
	certMode, keyMode = 0o644, 0o600
	dirMode           = 0o755
)

// aside is added to the name of a file that could not be used, in case somebody
// else has put it there.
const aside = ".unusable"

// selfSigned returns the pair in dir, which it makes for host if there is none
// that can be used: a crash may have left half of one. A file that cannot be
// read is an error.
func selfSigned(dir, host string, log *zap.Logger) (cert, key string, err error) {
	if dir == "" || host == "" {
		return "", "", fmt.Errorf("keeping a self-signed certificate: the directory is %q and the host name is %q, and both are needed; or give tlsCertFile and tlsPrivateKeyFile", dir, host)
	}
	cert, key = filepath.Join(dir, certName), filepath.Join(dir, keyName)
	why, err := unusable(cert, key)
	if err != nil {
		return "", "", fmt.Errorf("reading the node's self-signed certificate: %w; make both files readable or remove them", err)
	}
	if why == nil {
		return cert, key, nil
	}
	certPEM, keyPEM, err := certutil.GenerateSelfSignedCertKey(host, nil, nil)
	if err != nil {
		return "", "", fmt.Errorf("making a self-signed certificate for %s: %w", host, err)
	}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return "", "", fmt.Errorf("making the certificate directory (--cert-dir): %w", err)
	}
	if err := errors.Join(setAside(cert), setAside(key)); err != nil {
		return "", "", fmt.Errorf("replacing the unusable certificate in %s: %w", dir, err)
	}
	// The key comes first: a certificate means that the pair is whole.
	if err := replace(key, keyPEM, keyMode); err != nil {
		return "", "", err
	}
	if err := replace(cert, certPEM, certMode); err != nil {
		return "", "", err
	}
	log.Info("made a self-signed serving certificate", zap.String("file", cert), zap.String("host", host), zap.NamedError("because", why))
	return cert, key, nil
}

// unusable says why the pair cannot be served; err is for files that exist and
// cannot be read.
func unusable(cert, key string) (why, err error) {
	var content [2][]byte
	for i, path := range []string{cert, key} {
		text, err := os.ReadFile(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return err, nil //nolint:nilerr // the reason, not a failure
		case err != nil:
			return nil, err
		case len(text) == 0:
			return fmt.Errorf("%s is empty", path), nil
		}
		content[i] = text
	}
	_, why = tls.X509KeyPair(content[0], content[1])
	return why, nil
}

// setAside renames a file that has content. What was set aside first stays: it
// is the least likely to be ours.
func setAside(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path + aside); err == nil {
		return nil
	}
	return os.Rename(path, path+aside)
}

// replace writes a file so that it is whole or not there, whenever the machine
// stops.
func replace(path string, data []byte, mode os.FileMode) error {
	temp := path + ".new"
	err := func() error {
		if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if err != nil {
			return err
		}
		_, err = f.Write(data)
		if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
			return err
		}
		if err := os.Rename(temp, path); err != nil {
			return err
		}
		dir, err := os.Open(filepath.Dir(path))
		if err != nil {
			return err
		}
		defer dir.Close()
		return dir.Sync()
	}()
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
