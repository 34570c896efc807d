// Package emulator starts an AWS emulator for tests of adapters: real protocols, nothing but this machine.
package emulator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/sluice-data/sluice/internal/awshttp"
)

// program is the emulator, made to end with us: when this process ends in whatever way, its standard input closes.
const program = `
import os, runpy, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
sys.argv = ["ministack"]
runpy.run_module("ministack", run_name="__main__")
`

// Main runs a package's tests with an empty emulator, which it gives to use first, and returns the exit code. An emulator that cannot
// be started is a failure.
func Main(m *testing.M, use func(aws.Config)) int {
	cfg, stop, err := start()
	if err != nil {
		fmt.Fprintf(os.Stderr, "emulator: %v; make deps installs it\n", err)
		return 1
	}
	defer stop()
	use(cfg)
	return m.Run()
}

func start() (cfg aws.Config, stop func(), err error) {
	_, here, _, _ := runtime.Caller(0)
	python := filepath.Join(filepath.Dir(here), "..", "..", ".venv", "bin", "python")
	home, err := os.MkdirTemp("", "emulator")
	if err != nil {
		return cfg, nil, err
	}
	port, err := freePort()
	if err != nil {
		return cfg, nil, err
	}
	cmd := exec.Command(python, "-c", program)
	cmd.Dir = home
	cmd.Env = []string{"GATEWAY_PORT=" + port, "BIND_HOST=127.0.0.1", "IOT_MTLS_ENABLED=0", "AUTH=true", "HOME=" + home, "TMPDIR=" + home, "PATH=/usr/bin:/bin"}
	log, err := os.Create(filepath.Join(home, "log"))
	if err != nil {
		return cfg, nil, err
	}
	cmd.Stdout, cmd.Stderr = log, log
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return cfg, nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop = func() {
		_ = stdin.Close()
		<-ended
		_ = log.Close()
		_ = os.RemoveAll(home)
	}
	endpoint := "http://127.0.0.1:" + port
	if err := await(endpoint, ended); err != nil {
		text, _ := os.ReadFile(log.Name())
		return cfg, nil, fmt.Errorf("%w: %s", err, text)
	}
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: &endpoint, HTTPClient: awshttp.New(nil),
		Credentials: credentials.NewStaticCredentialsProvider("000000000000", "local", ""), // twelve digits: the account itself
	}, stop, nil
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

// await asks until the emulator answers.
func await(endpoint string, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	every := time.NewTicker(50 * time.Millisecond)
	defer every.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/_ministack/health", nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			return resp.Body.Close()
		}
		select {
		case err := <-ended:
			return fmt.Errorf("it ended: %w", err)
		case <-ctx.Done():
			return errors.New("it does not answer")
		case <-every.C:
		}
	}
}
