package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"
)

// startProcess starts a stand-in process and waits until it runs. The returned channel closes when it ended.
func startProcess(t *testing.T, env []string, args ...string) (pid int32, ended <-chan struct{}) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(append(os.Environ(), asProcess+"=1"), env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
		close(done)
	}()
	return int32(cmd.Process.Pid), done
}

// gonePID is the id of no process: Linux gives none above 1 << 22.
const gonePID = 1<<22 + 1

// writeCloud writes the cloud.json of a home.
func writeCloud(t *testing.T, home string, pid *int32) {
	t.Helper()
	text, err := json.Marshal(cloud{
		PID: pid, Account: "000000000000", Region: "us-east-1",
		Endpoints: map[string]string{"aws": "http://127.0.0.1:4566", "google": "http://127.0.0.1:4567"}, PIDs: map[string]int32{"storage": gonePID},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cloudFile(home), text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// inCheckout makes an empty checkout the working directory, with a home of its own, and returns the home.
func inCheckout(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "Pulumi.yaml"), []byte("name: sluice\nruntime: go\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(root)
	home := filepath.Join(root, "home")
	if err := os.Mkdir(home, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SLUICE_HOME", home)
	return home
}

// lockState writes the lock of a process on the stack local, with the file of attributes that Pulumi puts beside it.
func lockState(t *testing.T, home, name string, pid int32) {
	t.Helper()
	locks := filepath.Join(home, "state", ".pulumi", "locks", "organization", "sluice", "local")
	if err := os.MkdirAll(locks, 0o755); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`{"pid":%d,"username":"x","hostname":"h","timestamp":"2026-01-01T00:00:00Z"}`, pid)
	for file, text := range map[string]string{name: text, name + ".attrs": "{}"} {
		if err := os.WriteFile(filepath.Join(locks, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// fakePulumi makes a script stand for bin/pulumi of a checkout.
func fakePulumi(t *testing.T, root, script string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(root, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin", "pulumi"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestStatusShowsTheRunningCloud(t *testing.T) {
	home := inCheckout(t)
	pid, _ := startProcess(t, nil, "-m", "local.cloud", "--home", home)
	writeCloud(t, home, &pid)
	code, out, errOut := newStage().run(t, "local", "status")
	if code != exitDone {
		t.Fatalf("exit %d: %s", code, errOut)
	}
	golden(t, "local-status.txt", strings.ReplaceAll(out, home, "HOME"))
	_, out, _ = newStage().run(t, "local", "status", "--json")
	var got cloudStatus
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if !got.Running || *got.PID != pid || got.Home != home || got.Endpoints["aws"] != "http://127.0.0.1:4566" || got.PIDs["storage"] != gonePID {
		t.Errorf("status %s", out)
	}
}

func TestStatusCountsMemoryOfAProcessWithItsChildrenAndFilesOfTheHome(t *testing.T) {
	own, err := memoryOf(map[string]int32{"test": int32(os.Getpid()), "gone": gonePID})
	if err != nil || own["test"] < 1<<20 || own["gone"] != 0 {
		t.Fatalf("memory %v, %v; want more than 1 MB of this test and nothing of what is gone", own, err)
	}
	child, _ := startProcess(t, nil)
	both, err := memoryOf(map[string]int32{"test": int32(os.Getpid()), "child": child})
	if err != nil || both["child"] < 1<<20 || both["test"] <= both["child"] {
		t.Errorf("memory %v, %v; want that of the child in this test's", both, err)
	}
	home := t.TempDir()
	for name, size := range map[string]int{"a": 3 << 20, "cloud/s3/b": 2 << 20} {
		path := filepath.Join(home, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, make([]byte, size), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if bytes, err := diskOf(home); err != nil || bytes != 5<<20 {
		t.Errorf("disk %d, %v; want 5 MB", bytes, err)
	}
	if bytes, err := diskOf(filepath.Join(home, "none")); err != nil || bytes != 0 {
		t.Errorf("disk of no folder %d, %v", bytes, err)
	}
}

func TestStatusOfACloudThatEndedShowsNoEndpoint(t *testing.T) {
	home := inCheckout(t)
	stranger, _ := startProcess(t, nil, "some", "other", "program") // the id of the old launcher may be in use again
	for name, pid := range map[string]*int32{"stopped in order": nil, "id used by another": &stranger} {
		writeCloud(t, home, pid)
		code, out, _ := newStage().run(t, "local", "status", "--json")
		var got cloudStatus
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatal(err)
		}
		if code != exitDone || got.Running || len(got.Endpoints) != 0 || len(got.PIDs) != 0 {
			t.Errorf("%s: exit %d, %s", name, code, out)
		}
	}
}

func TestDownEndsTheLauncherAndItsOrphansAndNothingElse(t *testing.T) {
	home := inCheckout(t)
	launcher, launcherEnded := startProcess(t, []string{homeMark + "=" + home}, "-m", "local.cloud", "--home", home)
	_, orphanEnded := startProcess(t, []string{homeMark + "=" + home}, "a", "function")
	stranger, _ := startProcess(t, []string{homeMark + "=" + home + "-other"}, "-m", "local.cloud", "--home", home+"-other")
	writeCloud(t, home, &launcher)

	// The launcher of the test does not stop the orphan as the real one would; it must be found once the launcher is gone.
	if err := stopCloudWithin(t.Context(), home, 0); err != nil {
		t.Fatal(err)
	}
	<-launcherEnded
	<-orphanEnded
	if !isAlive(stranger) {
		t.Error("the cloud of another home was stopped")
	}
	code, out, errOut := newStage().run(t, "local", "down")
	if code != exitDone || out != "local cloud: stopped, no process of it is left\n" {
		t.Errorf("down again: exit %d, %q, %q", code, out, errOut)
	}
}

func TestDestroyOfNothingDeletesOnlyTheStacksData(t *testing.T) {
	home := inCheckout(t)
	writeCloud(t, home, nil)
	for _, name := range []string{"cloud", "cloud.deleted", "state", "demo"} {
		if err := os.Mkdir(filepath.Join(home, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	code, _, errOut := newStage().run(t, "local", "down", "--destroy")
	if code != exitDone {
		t.Fatalf("exit %d: %s", code, errOut)
	}
	left, err := filepath.Glob(filepath.Join(home, "*"))
	if err != nil || !slices.Equal(left, []string{filepath.Join(home, "demo")}) {
		t.Errorf("left %q, %v; want the demo's files", left, err)
	}
}

func TestUpAfterTheCloudWasKilledForgetsTheStackThatWasInIt(t *testing.T) {
	home := inCheckout(t)
	for _, path := range []string{"cloud/unsaved", "state/.pulumi/stacks/sluice/local.json", "demo/us/flights/2013-01-01/flights.csv"} {
		if err := os.MkdirAll(filepath.Join(home, filepath.Dir(path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(home, path), []byte("{}"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, _, errOut := newStage().run(t, "local", "up") // nothing is there to start it with
	want := "local cloud: it was killed, or this machine was, and what it held is lost; starting with an empty one\n"
	if !strings.HasPrefix(errOut, want) {
		t.Errorf("it says %q, want %q", errOut, want)
	}
	for path, want := range map[string]bool{"cloud/unsaved": false, "state": false, "demo/us/flights/2013-01-01/flights.csv": true} {
		if _, err := os.Stat(filepath.Join(home, path)); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", path, err == nil, want)
		}
	}
}

func TestDownOfACloudThatWasKilledStartsNoOther(t *testing.T) {
	home := inCheckout(t)
	for _, path := range []string{"cloud/unsaved", "state/.pulumi/stacks/sluice/local.json"} {
		if err := os.MkdirAll(filepath.Join(home, filepath.Dir(path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(home, path), []byte("{}"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	code, _, errOut := newStage().run(t, "local", "down", "--destroy")
	want := "local cloud: it was killed, or this machine was, and the stack is lost with it; deleting what is left\n"
	if code != exitDone || errOut != want {
		t.Errorf("exit %d, %q; want %q", code, errOut, want)
	}
	if left, err := filepath.Glob(filepath.Join(home, "*")); err != nil || len(left) != 0 {
		t.Errorf("left %q, %v", left, err)
	}
}

func TestDownEndsAPulumiThatIsStillAtWork(t *testing.T) {
	home := inCheckout(t)
	working, ended := startProcess(t, nil, "bin/pulumi-cli", "up")
	stranger, _ := startProcess(t, nil, "some", "other", "program") // the id of an old owner may be in use again
	lockState(t, home, "a.json", working)
	lockState(t, home, "b.json", stranger)
	var out bytes.Buffer
	if err := newApp(&out, &out).endPulumi(t.Context(), home); err != nil {
		t.Fatal(err)
	}
	<-ended
	if !isAlive(stranger) {
		t.Error("a stranger was ended")
	}
	if want := fmt.Sprintf("sluice: another pulumi (process %d) works on the stack; ending it\n", working); out.String() != want {
		t.Errorf("it says %q, want %q", out.String(), want)
	}
}

func TestInterruptReachesPulumiOnce(t *testing.T) {
	home := inCheckout(t)
	root := filepath.Dir(home)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	fakePulumi(t, root, fmt.Sprintf("cut -d' ' -f5 /proc/$$/stat\n%s=1 exec %s\n", asProcess, exe))
	ctx, cancel := context.WithCancelCause(t.Context())
	said, out := io.Pipe()
	group := make(chan string, 1)
	go func() {
		lines := bufio.NewReader(said)
		first, _ := lines.ReadString('\n')
		group <- strings.TrimSpace(first)
		_, _ = lines.ReadString('\n') // it is ready
		cancel(interrupted{os.Interrupt})
		_, _ = io.Copy(io.Discard, lines)
	}()
	// The stand-in ends well when it is asked once, in the way that bin/pulumi passes on; an interrupt kills it.
	if err := newApp(out, out).runPulumi(ctx, root, "up"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if got := <-group; got == fmt.Sprint(syscall.Getpgrp()) {
		t.Error("what a terminal sends to our process group reaches Pulumi a second time")
	}
}

func TestUpWithoutDependenciesSaysWhatToRun(t *testing.T) {
	inCheckout(t)
	code, _, errOut := newStage().run(t, "local", "up")
	if code != exitError || !strings.Contains(errOut, "run 'make deps' first") {
		t.Errorf("exit %d, %q", code, errOut)
	}
}

func TestLockOfALivingPulumiIsRespected(t *testing.T) {
	home := inCheckout(t)
	lockState(t, home, "a.json", int32(os.Getpid()))
	err := unlockState(t.Context(), filepath.Dir(home), home)
	want := fmt.Sprintf("state: another pulumi (process %d) works on the stack; wait until it ended", os.Getpid())
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestLockOfADeadPulumiIsCancelled(t *testing.T) {
	home := inCheckout(t)
	root := filepath.Dir(home)
	pid, ended := startProcess(t, nil)
	if err := syscall.Kill(int(pid), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-ended
	lockState(t, home, "a.json", pid)
	fakePulumi(t, root, "echo \"$@\" \"home=$SLUICE_HOME\" >> calls\n")
	if err := unlockState(t.Context(), root, home); err != nil {
		t.Fatal(err)
	}
	calls, err := os.ReadFile(filepath.Join(root, "calls"))
	if want := "cancel --yes --stack local home=" + home + "\n"; err != nil || string(calls) != want {
		t.Errorf("pulumi was called with %q, %v; want %q", calls, err, want)
	}
}

func TestReadingWithoutACloudSaysHowToStartIt(t *testing.T) {
	inCheckout(t)
	_, err := discover(t.Context(), localStack)
	if err == nil || err.Error() != "the local cloud is not running; start it with 'sluice local up' or 'make demo'" {
		t.Errorf("error %v", err)
	}
}

func TestEveryCommandHasAnExample(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Name() == "help" || c.Name() == "completion" {
			return
		}
		if c.Example == "" && !c.HasSubCommands() {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRootCommand(newApp(io.Discard, io.Discard)))
}

func TestWrongCallSaysHowTheCommandIsCalled(t *testing.T) {
	for args, want := range map[string]string{
		"put": "sluice: requires at least 1 arg(s), only received 0\nUsage: sluice put FILE... --country C --feed F --day D [flags]\nRun 'sluice put --help' for more.\n",
		"restate flights/2013-01-01 --country us": "sluice: required flag(s) \"reason\" not set\nUsage: sluice restate JOB --country C --reason R [flags]\nRun 'sluice restate --help' for more.\n",
		"compute away":  "sluice: unknown command \"away\" for \"sluice compute\"\nRun 'sluice compute --help' for more.\n",
		"jobs --colour": "sluice: unknown flag: --colour\nUsage: sluice jobs [flags]\nRun 'sluice jobs --help' for more.\n",
	} {
		var out, errOut bytes.Buffer
		if code := run(t.Context(), newApp(&out, &errOut), strings.Fields(args)); code != exitUsage || errOut.String() != want || out.Len() != 0 {
			t.Errorf("%s: exit %d\n%s\n%s", args, code, errOut.String(), out.String())
		}
	}
}
