package serving

import (
	"crypto/tls"
	"fmt"
	"slices"

	"go.uber.org/zap"
	cliflag "k8s.io/component-base/cli/flag"
)

// settings turns names and numbers into what crypto/tls knows, and warns of what
// is unsafe or without effect.
func settings(cfg Config, log *zap.Logger) (*tls.Config, error) {
	version, err := cliflag.TLSVersion(cfg.MinVersion)
	if err != nil {
		return nil, fmt.Errorf("tlsMinVersion: %w; give one of %v", err, cliflag.TLSPossibleVersions())
	}
	suites, err := cliflag.TLSCipherSuites(cfg.CipherSuites)
	if err != nil {
		return nil, fmt.Errorf("tlsCipherSuites: %w; give some of %v", err, cliflag.TLSCipherPossibleValues())
	}
	curves, err := cliflag.TLSCurvePreferences(cfg.Curves)
	if err != nil {
		return nil, fmt.Errorf("tlsCurvePreferences: %w; give numbers of curves in crypto/tls, or none", err)
	}
	insecure := cliflag.InsecureTLSCiphers()
	for _, name := range cfg.CipherSuites {
		if _, ok := insecure[name]; ok {
			log.Warn("tlsCipherSuites has a cipher suite that is insecure", zap.String("cipher", name))
		}
	}
	if version == tls.VersionTLS13 && len(suites) > 0 {
		log.Warn("tlsCipherSuites is ignored: the cipher suites of TLS 1.3 cannot be chosen, and tlsMinVersion allows no other version")
	}
	protocols := []string{"h2", "http/1.1"}
	if !http2Fits(version, suites) {
		log.Info("HTTP/2 is not offered: tlsCipherSuites has none of the cipher suites that it needs below TLS 1.3")
		protocols = protocols[1:]
	}
	return &tls.Config{MinVersion: version, CipherSuites: suites, CurvePreferences: curves, NextProtos: protocols}, nil
}

// http2Fits reports whether HTTP/2 may be offered: below TLS 1.3 it demands one
// suite of RFC 9113, 9.2.2, and a connection that agrees on another fails.
func http2Fits(version uint16, suites []uint16) bool {
	return version == tls.VersionTLS13 || len(suites) == 0 ||
		slices.Contains(suites, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256) ||
		slices.Contains(suites, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
}
