package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// shown is how many bytes of text are told as they are.
const shown = 400

// content tells what is in a file: short texts as they are, else size and hash.
func content(data []byte) string {
	if text, ok := token(data); ok {
		return text
	}
	if text, ok := keyPair(data); ok {
		return text
	}
	if text, ok := certificates(data); ok {
		return text
	}
	if len(data) <= shown && utf8.Valid(data) && !bytes.ContainsFunc(data, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }) {
		return fmt.Sprintf("%q", data)
	}
	return fmt.Sprintf("[%d sha256:%x]", len(data), sha256.Sum256(data))
}

// token tells a JSON Web Token: the names in its header, and its claims. Times
// are told from the first on.
func token(data []byte) (string, bool) {
	parts := strings.Split(string(data), ".")
	if len(parts) != 3 {
		return "", false
	}
	var header, claims map[string]any
	for i, into := range []*map[string]any{&header, &claims} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(raw, into) != nil {
			return "", false
		}
	}
	issued, _ := claims["iat"].(float64)
	since(claims, issued)
	delete(claims, "jti")
	text, err := json.Marshal(claims)
	if err != nil {
		return "", false
	}
	return fmt.Sprintf("token %v %s", slices.Sorted(maps.Keys(header)), text), true
}

// since makes seconds after issued of all times among claims.
func since(claims map[string]any, issued float64) {
	for name, value := range claims {
		switch v := value.(type) {
		case float64:
			claims[name] = fmt.Sprintf("+%.0f s", v-issued)
		case map[string]any:
			since(v, issued)
		}
	}
}

// blocks are those of a PEM file that has nothing else in it.
func blocks(data []byte) []*pem.Block {
	var all []*pem.Block
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			if len(bytes.TrimSpace(rest)) > 0 {
				return nil
			}
			return all
		}
		all, data = append(all, block), rest
	}
}

// keyPair tells a file that has a private key, with or without certificates, or
// a chain of certificates that was made for one.
func keyPair(data []byte) (string, bool) {
	var text strings.Builder
	private := false
	for _, block := range blocks(data) {
		fmt.Fprintf(&text, "; %s", block.Type)
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			private = true
			fmt.Fprintf(&text, " %T", key)
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			private = private || !cert.IsCA
			fmt.Fprintf(&text, " of %q by %q, %s", cert.Subject, cert.Issuer, cert.PublicKeyAlgorithm)
		}
	}
	return "pem" + text.String(), private
}

// certificates tells several authorities, which have no order.
func certificates(data []byte) (string, bool) {
	var sums []string
	for _, block := range blocks(data) {
		sums = append(sums, fmt.Sprintf("%s %v sha256:%x", block.Type, len(block.Headers), sha256.Sum256(block.Bytes)))
	}
	if len(sums) < 2 {
		return "", false
	}
	slices.Sort(sums)
	return fmt.Sprintf("[%d in any order: %s]", len(data), strings.Join(sums, ", ")), true
}
