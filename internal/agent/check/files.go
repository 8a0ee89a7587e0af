package check

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"nodeagent.dev/nodeagent/internal/certificate"
	"nodeagent.dev/nodeagent/internal/config"
)

// rootDir says whether the agent can keep its files.
func rootDir(dir string) line {
	const what = "root directory (--root-dir)"
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return line{fine, what, dir + " is not there and will be made", ""}
	case err != nil:
		return line{problem, what, err.Error(), "let the agent read it"}
	case !info.IsDir():
		return line{problem, what, dir + " is no directory", "give another one"}
	}
	if err := unix.Access(dir, unix.W_OK); err != nil {
		return line{problem, what, fmt.Sprintf("%s cannot be written to: %v", dir, err), "run as root, or give another one"}
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err == nil && disk.Blocks > 0 && disk.Bavail*100/disk.Blocks < 5 {
		return line{warning, what, fmt.Sprintf("the disk of %s is %d%% full", dir, 100-disk.Bavail*100/disk.Blocks), "make room"}
	}
	return line{fine, what, dir + " can be written to", ""}
}

// credentials looks at what the API server is shown, and shows it.
func credentials(ctx context.Context, cfg *config.Config) []line {
	if cfg.Standalone {
		return []line{{fine, "API server", "none is configured (--kubeconfig): static pods only", ""}}
	}
	conf := certificate.Config{NodeName: cfg.NodeName, Kubeconfig: cfg.Kubeconfig, BootstrapKubeconfig: cfg.BootstrapKubeconfig, CertDir: cfg.CertDir, Rotate: cfg.API.Rotate}
	found := certificate.Inspect(conf)
	lines := []line{kubeconfig(&found)}
	if found.Kubeconfig.Err == nil {
		lines = append(lines, authorities("CA of the API server", found.Kubeconfig.Authorities, found.Kubeconfig.Insecure))
	}
	lines = append(lines, client(cfg, &found), bootstrap(&found))
	if found.Kubeconfig.Err != nil {
		return lines
	}
	return append(lines, server(ctx, cfg, conf, found.Kubeconfig.Server))
}

func kubeconfig(found *certificate.Inspection) line {
	const what = "kubeconfig (--kubeconfig)"
	k := &found.Kubeconfig
	switch {
	case k.Err != nil && found.Bootstrap != nil && found.Bootstrap.Err == nil:
		return line{fine, what, k.Path + " cannot be used and will be made from the bootstrap kubeconfig", ""}
	case k.Err != nil:
		return line{problem, what, k.Err.Error(), "put a readable one there, or give a bootstrap kubeconfig (--bootstrap-kubeconfig)"}
	case k.LeafErr != nil:
		return line{warning, what, k.Path + " names a client certificate that cannot be read: " + k.LeafErr.Error(), "see the client certificate below"}
	}
	return line{fine, what, k.Path + " is for " + k.Server, ""}
}

// client is about the certificate that an agent would show.
func client(cfg *config.Config, found *certificate.Inspection) line {
	const what = "client certificate"
	if found.Trouble != "" {
		return line{problem, what, found.Trouble, ""}
	}
	leaf := found.Used
	if leaf == nil {
		return line{fine, what, "none; the kubeconfig has another credential", ""}
	}
	text := fmt.Sprintf("%s, issued by %s, %s", leaf.Subject, leaf.Issuer, ending(leaf))
	name := "system:node:" + cfg.NodeName
	switch {
	case leaf.Subject.CommonName != name:
		return line{problem, what, text, fmt.Sprintf("the API server lets a node do its work as %s only: ask for another one, or give the node its name (--hostname-override)", name)}
	case !slices.Contains(leaf.Subject.Organization, "system:nodes"): //nolint:misspell // a field of crypto/x509
		return line{problem, what, text, "its organisation has to be system:nodes: ask for another one"}
	case late(leaf) && !cfg.API.Rotate:
		return line{warning, what, text, "nobody renews it: set rotateCertificates, or put a new one there in time"}
	case late(leaf):
		return line{warning, what, text, "it should have been renewed by now: look for pending requests with kubectl get csr, and at the agent's log"}
	}
	return line{fine, what, text, ""}
}

func bootstrap(found *certificate.Inspection) line {
	const what = "bootstrap kubeconfig (--bootstrap-kubeconfig)"
	b := found.Bootstrap
	switch {
	case b == nil && found.Trouble != "":
		return line{warning, what, "none is configured", "with one the node could get a new certificate by itself"}
	case b == nil:
		return line{fine, what, "none is configured, and none is needed now", ""}
	case b.Err != nil && found.Trouble != "":
		return line{problem, what, b.Err.Error(), "put one with a valid token there, for instance from kubeadm token create"}
	case b.Err != nil:
		return line{fine, what, "not there, and not needed as long as the client certificate is renewed in time", ""}
	}
	return line{fine, what, b.Path + " is for " + b.Server, ""}
}

// server asks the API server who we are.
func server(ctx context.Context, cfg *config.Config, conf certificate.Config, address string) line {
	const what = "API server"
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	name, groups, err := certificate.WhoAmI(ctx, conf)
	if err != nil {
		return line{problem, what, err.Error(), "the address in the kubeconfig, the network, and both certificates have to be right"}
	}
	text := fmt.Sprintf("%s knows us as %s (%s)", address, name, strings.Join(groups, ", "))
	if name != "system:node:"+cfg.NodeName {
		return line{problem, what, text, "it lets a node do its work as system:node:" + cfg.NodeName + " only"}
	}
	return line{fine, what, text, ""}
}

// serving is about the certificate of the node's own port.
func serving(cfg *config.Config) []line {
	const what = "serving certificate"
	own := cfg.Server.TLS
	if !cfg.Server.Enabled {
		return nil
	}
	found := certificate.ReadPair(own.CertFile, own.KeyFile)
	how := "tlsCertFile and tlsPrivateKeyFile have to be readable and belong together"
	switch {
	case own.Request && !cfg.Standalone:
		found = certificate.ReadCertificate(filepath.Join(cfg.CertDir, "kubelet-server-current.pem"))
		if errors.Is(found.Err, fs.ErrNotExist) {
			return []line{{warning, what, "there is none yet; logs and exec do not work before", "once the agent runs, approve its request: kubectl get csr, kubectl certificate approve NAME"}}
		}
		how = "remove the file, and another one is asked for"
	case own.CertFile == "":
		found = certificate.ReadPair(filepath.Join(cfg.CertDir, "kubelet.crt"), filepath.Join(cfg.CertDir, "kubelet.key"))
		if errors.Is(found.Err, fs.ErrNotExist) {
			return []line{{fine, what, "a self-signed one will be made", ""}}
		}
		how = "remove both files, and others are made"
	}
	switch {
	case found.Err != nil:
		return []line{{problem, what, found.Err.Error(), how}}
	case time.Now().After(found.Leaf.NotAfter):
		return []line{{problem, what, fmt.Sprintf("%s: %s", found.Path, ending(found.Leaf)), how}}
	case late(found.Leaf):
		return []line{{warning, what, fmt.Sprintf("%s: %s", found.Path, ending(found.Leaf)), "have it renewed"}}
	}
	return []line{{fine, what, fmt.Sprintf("%s, issued by %s, %s", found.Path, found.Leaf.Issuer, ending(found.Leaf)), ""}}
}

// clientCA is about who may call the node's own port with a certificate.
func clientCA(cfg *config.Config) []line {
	path := cfg.Server.Access.ClientCAFile
	if path == "" || !cfg.Server.Enabled {
		return nil
	}
	const what = "client CA (authentication.x509.clientCAFile)"
	all, err := certificate.ReadAuthorities(path)
	if err != nil {
		return []line{{problem, what, err.Error(), "put the cluster's CA there, or the API server cannot fetch logs"}}
	}
	return []line{authorities(what, all, false)}
}

func authorities(what string, all []*x509.Certificate, insecure bool) line {
	if insecure {
		return line{warning, what, "any certificate is taken for the API server's (insecure-skip-tls-verify)", "give the cluster's CA instead"}
	}
	if len(all) == 0 {
		return line{fine, what, "those of the machine", ""}
	}
	var names []string
	for _, ca := range all {
		text := ca.Subject.String() + ", " + ending(ca)
		if time.Now().After(ca.NotAfter) {
			return line{problem, what, text, "replace it"}
		}
		names = append(names, text)
	}
	return line{fine, what, strings.Join(names, "; "), ""}
}

// ending says until when a certificate is valid.
func ending(c *x509.Certificate) string {
	left := time.Until(c.NotAfter)
	at := c.NotAfter.UTC().Format(time.RFC3339)
	if left < 0 {
		return fmt.Sprintf("it has expired at %s, %s ago", at, (-left).Round(time.Second))
	}
	return fmt.Sprintf("valid until %s, %s from now", at, left.Round(time.Second))
}

// late reports whether a certificate is past the point at which agents renew it:
// 90 percent of its life.
func late(c *x509.Certificate) bool {
	return time.Until(c.NotAfter) < c.NotAfter.Sub(c.NotBefore)/10
}
