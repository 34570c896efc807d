package main

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"testing"
	"time"
)

type kept struct{ bodies [][]byte }

func (k *kept) PutNew(_ context.Context, body []byte) (bool, error) {
	if len(k.bodies) > 0 {
		return false, nil
	}
	k.bodies = append(k.bodies, body)
	return true, nil
}

func TestNodesOfTheRegionTrustEachOtherUnderTheCertificate(t *testing.T) {
	now := time.Now()
	for region, host := range map[string]string{"us-east-1": "ip-10-0-0-1.ec2.internal", "eu-west-1": "ip-10-0-0-1.eu-west-1.compute.internal"} {
		k := &kept{}
		h := &handler{region, k, func() time.Time { return now }}
		for range 2 {
			if err := h.Handle(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		files := unzip(t, k.bodies[0])
		pair, err := tls.X509KeyPair(files["certificateChain.pem"], files["privateKey.pem"])
		if err != nil {
			t.Fatal(err)
		}
		trusted := x509.NewCertPool()
		if !trusted.AppendCertsFromPEM(files["trustedCertificates.pem"]) || len(files) != 3 {
			t.Fatalf("files: %v", files)
		}
		for usage, at := range map[x509.ExtKeyUsage]time.Time{x509.ExtKeyUsageServerAuth: now, x509.ExtKeyUsageClientAuth: now.AddDate(years, 0, -1)} {
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: trusted, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
				t.Errorf("%s: %v", region, err)
			}
		}
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: "example.com", Roots: trusted}); err == nil {
			t.Errorf("%s: good for any host", region)
		}
	}
}

func unzip(t *testing.T, body []byte) map[string][]byte {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, f := range archive.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if files[f.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	return files
}
