// Command sluice is the operator's tool: it puts files into a country's landing bucket, tells what became of them, asks the data
// questions, and starts and stops the local cloud. It works the same on a laptop and on a real account; only the stack differs.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// The exit codes are part of the command's interface: scripts rely on them.
const (
	exitDone    = 0
	exitError   = 1
	exitUsage   = 2
	exitRefused = 3
)

// usageError is a mistake in how the command was called.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// refusedError says that the rules of the product do not allow what was asked, although it was asked correctly.
type refusedError struct{ text string }

func (e refusedError) Error() string { return e.text }

func refusedf(format string, args ...any) error { return refusedError{fmt.Sprintf(format, args...)} }

func main() {
	slog.SetLogLoggerLevel(slog.LevelWarn) // what the rules log as they go is for the functions' logs
	os.Exit(run(interruptible(), newApp(os.Stdout, os.Stderr), os.Args[1:]))
}

// interrupted is the cause of a context that a signal ended.
type interrupted struct{ signal os.Signal }

func (i interrupted) Error() string { return "stopped by signal: " + i.signal.String() }

// interruptible ends its context at the first signal, with the signal as the cause; a second one ends the process the usual way.
func interruptible() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		cancel(interrupted{<-signals})
		signal.Stop(signals)
	}()
	return ctx
}

// run executes one command line and returns its exit code.
func run(ctx context.Context, a *app, args []string) int {
	root := newRootCommand(a)
	root.SetArgs(args)
	root.SetOut(a.out)
	root.SetErr(a.err)
	called, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	var usage usageError
	var refused refusedError
	switch {
	case errors.As(err, &refused):
		fprintln(a.err, "sluice: refused:", err)
		return exitRefused
	case errors.As(err, &usage), !a.started: // what fails before a command's own code runs is a wrong flag or argument
		fprintln(a.err, "sluice:", err)
		if !called.HasSubCommands() {
			fprintln(a.err, "Usage:", called.UseLine())
		}
		fprintf(a.err, "Run '%s --help' for more.\n", called.CommandPath())
		return exitUsage
	case ctx.Err() != nil:
		fprintln(a.err, "sluice:", context.Cause(ctx))
		return exitError
	default:
		fprintln(a.err, "sluice:", err)
		return exitError
	}
}

// fprintln writes a line to a terminal or a pipe. A reader that went away is not an error worth a message.
func fprintln(w io.Writer, args ...any) { _, _ = fmt.Fprintln(w, args...) }

func fprintf(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }
