package main

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"time"
)

// shelf keeps one object.
type shelf interface {
	// PutNew keeps the object unless there is one; it tells whether it did.
	PutNew(ctx context.Context, body []byte) (bool, error)
}

// handler makes the certificate under which the nodes of the country's clusters talk to each other. The key is made here and goes
// straight to where the nodes read it: no deployment, state or person sees it. The function itself cannot read it again.
type handler struct {
	region string
	shelf  shelf
	now    func() time.Time
}

// years is how long a certificate is good. Nodes take it when they start, and trust it alone: with another one in its place, new nodes
// of a running cluster would not be believed.
const years = 10

// Handle makes the certificate unless it is there.
func (h *handler) Handle(ctx context.Context) error {
	bundle, err := certificate(domain(h.region), h.now())
	if err != nil {
		return err
	}
	kept, err := h.shelf.PutNew(ctx, bundle)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	slog.InfoContext(ctx, "certificate", "new", kept)
	return nil
}

// domain is the names of EC2's machines in a region.
func domain(region string) string {
	if region == "us-east-1" {
		return "*.ec2.internal"
	}
	return "*." + region + ".compute.internal"
}

// certificate makes a key and its certificate, as the zip that EMR reads.
func certificate(name string, now time.Time) ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("serial number: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(years, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true, // it is its own authority
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	var text bytes.Buffer
	archive := zip.NewWriter(&text)
	for _, file := range []struct {
		name string
		body []byte
	}{
		{"privateKey.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})},
		{"certificateChain.pem", public},
		{"trustedCertificates.pem", public},
	} {
		w, err := archive.Create(file.name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file.name, err)
		}
		if _, err := w.Write(file.body); err != nil {
			return nil, fmt.Errorf("%s: %w", file.name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return nil, fmt.Errorf("zip: %w", err)
	}
	return text.Bytes(), nil
}
