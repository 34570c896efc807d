// Command functions measures what the functions weigh and how they start, and writes bench/functions.md. Run it by `make bench`. It needs strace.
package main

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/sluice-data/sluice/infra"
	"github.com/sluice-data/sluice/internal/discovery"
)

// What a function may weigh and take, and how often each is started.
const (
	mostBytes = 4_000_000
	mostOwn   = 10 * time.Millisecond
	starts    = 40
)

const page = `# The functions: packages and starts

Packages are those that a deployment to AWS uploads (arm64; MB of a million bytes). Each function is started %d times, on the processor of the machine
that measures, by a Lambda runtime API of the measurement's own, and ended when it asks for its first event; the table has medians. What a function
without anything takes of the processor, no SDK in it, is taken off: the rest is its own, with all clients and the reading of its country's document,
which is what a start waits for besides: a server of the measurement's own gives it, without TLS. Once more each is started under strace, which lists
the connections that it makes and the files that it opens before that, those that the empty function opens, too, left out.
The aim is at most %d MB, %d ms of its own and one connection, to the document; what misses it is named and ends the measurement with an error.

Measured by ` + "`make bench`" + ` on %s, %d cores.

| function | package, MB | ready after, ms | its own processor time, ms | connections | files |
|---|---|---|---|---|---|
%s
A file is its country's time zone: AWS's runtime does not have it, so that there the function's own is used.
`

// empty is a function that does nothing.
const empty = `package main

import (
	"context"

	"github.com/aws/aws-lambda-go/lambda"
)

func main() { lambda.Start(func(context.Context) error { return nil }) }
`

func main() {
	if err := measure(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// start is one start of a function.
type start struct{ ready, processor time.Duration }

func measure(ctx context.Context) error {
	work, err := os.MkdirTemp("", "sluice-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	deployed, err := build(ctx, work, "arm64")
	if err != nil {
		return err
	}
	here, err := build(ctx, work, map[string]string{"amd64": "x86_64", "arm64": "arm64"}[runtime.GOARCH])
	if err != nil {
		return err
	}
	programs := map[string]string{}
	for name, packed := range here {
		if programs[name], err = unpack(packed); err != nil {
			return err
		}
	}
	if programs[""], err = buildEmpty(ctx, work); err != nil {
		return err
	}

	took := map[string][]start{}
	for range starts { // round by round, so that what else the machine does meets all of them
		for name, program := range programs {
			one, err := run(ctx, program)
			if err != nil {
				return err
			}
			took[name] = append(took[name], one)
		}
	}
	_, usual, err := trace(ctx, programs[""], work)
	if err != nil {
		return err
	}

	ready := func(s start) time.Duration { return s.ready }
	processor := func(s start) time.Duration { return s.processor }
	var rows strings.Builder
	var faults []error
	for _, name := range slices.Sorted(slices.Values(infra.Functions)) {
		info, err := os.Stat(deployed[name])
		if err != nil {
			return err
		}
		connections, files, err := trace(ctx, programs[name], work)
		if err != nil {
			return err
		}
		files = slices.DeleteFunc(files, func(file string) bool { return slices.Contains(usual, file) })
		own := median(took[name], processor) - median(took[""], processor)
		fmt.Fprintf(&rows, "| %s | %.2f | %.1f | %.1f | %d | %d |\n", name, float64(info.Size())/1e6, ms(median(took[name], ready)), ms(own), connections, len(files))
		if info.Size() > mostBytes || own > mostOwn || connections > 1 {
			faults = append(faults, fmt.Errorf("%s: %d bytes, %s of its own, %d connections; at most %d, %s and one", name, info.Size(), own, connections, mostBytes, mostOwn))
		}
	}
	fmt.Fprintf(&rows, "| (the empty function) | | %.1f | | | |\n", ms(median(took[""], ready)))
	text := fmt.Sprintf(page, starts, mostBytes/1_000_000, mostOwn.Milliseconds(), time.Now().Format(time.DateOnly), runtime.NumCPU(), rows.String())
	return errors.Join(append(faults, os.WriteFile("bench/functions.md", []byte(text), 0o644))...)
}

func median(of []start, by func(start) time.Duration) time.Duration {
	times := []time.Duration{}
	for _, s := range of {
		times = append(times, by(s))
	}
	slices.Sort(times)
	return times[len(times)/2]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// build packs the functions as a deployment does.
func build(ctx context.Context, work, architecture string) (map[string]string, error) {
	return infra.BuildFunctions(ctx, infra.BuildArgs{Root: ".", Folder: "lambdas", Names: infra.Functions, Architecture: architecture, Out: work})
}

func buildEmpty(ctx context.Context, work string) (string, error) {
	source, program := filepath.Join(work, "empty.go"), filepath.Join(work, "empty")
	if err := os.WriteFile(source, []byte(empty), 0o600); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-tags", "lambda.norpc", "-ldflags", "-s -w", "-o", program, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("the empty function: %w\n%s", err, said)
	}
	return program, nil
}

// unpack takes the program out of a package.
func unpack(packed string) (string, error) {
	archive, err := zip.OpenReader(packed)
	if err != nil {
		return "", err
	}
	defer func() { _ = archive.Close() }() // it was only read
	in, err := archive.Open("bootstrap")
	if err != nil {
		return "", err
	}
	content, err := io.ReadAll(in)
	if err != nil {
		return "", err
	}
	program := strings.TrimSuffix(packed, ".zip")
	return program, os.WriteFile(program, content, 0o700)
}

// run starts a function until it asks for its first event. No answer to that ends it. It reads its country's document from the same server.
func run(ctx context.Context, command ...string) (start, error) {
	document, err := json.Marshal(map[string]any{"Parameter": map[string]string{"Name": parameter, "Value": documentText()}})
	if err != nil {
		return start{}, err
	}
	var ready time.Time
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Amz-Target") == "AmazonSSM.GetParameter" {
			w.Header().Set("Content-Type", "application/x-amz-json-1.1")
			_, _ = w.Write(document)
			return
		}
		if strings.HasSuffix(r.URL.Path, "/runtime/invocation/next") {
			ready = time.Now()
		}
		w.WriteHeader(http.StatusInternalServerError)
	}))
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = []string{"AWS_LAMBDA_RUNTIME_API=" + strings.TrimPrefix(api.URL, "http://"), "AWS_REGION=eu-west-1",
		"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b", "AWS_SESSION_TOKEN=c", "AWS_ENDPOINT_URL_SSM=" + api.URL, discovery.EnvVar + "=" + parameter}
	began := time.Now()
	said, err := cmd.CombinedOutput()
	api.Close() // its last request has ended before ready is read
	if ready.IsZero() {
		return start{}, fmt.Errorf("%s did not ask for an event: %w\n%s", command[len(command)-1], err, said)
	}
	return start{ready.Sub(began), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}, nil
}

// parameter is where the functions find the document.
var parameter = discovery.ParameterName("bench", "us") + ":1"

// documentText is a document in which every text is there.
func documentText() string {
	text, _ := json.Marshal(discovery.Country{Version: discovery.Version, Stack: "bench", Country: "us", TimeZone: "Europe/Madrid", Parallel: 5, // texts always marshal
		Google: discovery.Google{Audience: "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/p"}})
	return strings.ReplaceAll(string(text), `""`, `"x"`)
}

var (
	connected = regexp.MustCompile(`\bconnect\(\d+, \{sa_family=AF_INET`)
	opened    = regexp.MustCompile(`\bopenat\([^"]*"([^"]*)".*\) = \d`)
)

// trace returns how many connections a function makes besides that to the runtime API, and the files that it opens.
func trace(ctx context.Context, program, work string) (connections int, files []string, err error) {
	log := filepath.Join(work, "trace")
	if _, err := run(ctx, "strace", "-f", "-qq", "-e", "trace=connect,openat", "-o", log, program); err != nil {
		return 0, nil, err
	}
	text, err := os.ReadFile(log)
	if err != nil {
		return 0, nil, err
	}
	for _, found := range opened.FindAllStringSubmatch(string(text), -1) {
		files = append(files, found[1])
	}
	return len(connected.FindAllString(string(text), -1)) - 1, files, nil
}
