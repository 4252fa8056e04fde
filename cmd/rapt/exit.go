package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"rapt/datasets"
	"rapt/trainer"
	"rapt/trainer/checkpoint"
	"rapt/trainer/config"
)

// The exit codes, which schedulers rely on.
const (
	exitDone     = 0
	exitFailed   = 1 // at run time; the last good checkpoint is kept
	exitUsage    = 2 // usage, config or missing input, before any work
	exitUnproved = 3 // a verification failed
)

// unprovedError is a verification that did not come out as asked.
type unprovedError struct{ text string }

func (e *unprovedError) Error() string { return e.text }

// report prints what went wrong, if anything did, and returns the exit code.
func (a *app) report(err error) int {
	if err == nil {
		return exitDone
	}
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); line != "" {
			fmt.Fprintln(a.err, "rapt:", line)
		}
	}
	return a.code(err)
}

func (a *app) code(err error) int {
	var (
		usage      *usageError
		unproved   *unprovedError
		unequal    *trainer.UnequalError
		checksum   *datasets.ChecksumError
		configFile *config.Error
		input      *trainer.InputError
		data       *datasets.InputError
		model      *checkpoint.InputError
	)
	switch {
	case errors.Is(err, trainer.ErrInterrupted), errors.Is(err, context.Canceled):
		return a.signal.code()
	case errors.As(err, &unproved), errors.As(err, &unequal), errors.As(err, &checksum):
		return exitUnproved
	case !a.started, errors.As(err, &usage), errors.As(err, &configFile), errors.As(err, &input), errors.As(err, &data), errors.As(err, &model):
		return exitUsage
	}
	return exitFailed
}

// fault reports a panic that should not have been.
func (a *app) fault(cause any, stack []byte) int {
	fmt.Fprintf(a.err, "rapt: an unexpected fault, which is a bug of rapt's, ended the work: %v (RAPT_DEBUG=1 shows where)\n", cause)
	if os.Getenv("RAPT_DEBUG") == "1" {
		a.err.Write(stack)
	}
	return exitFailed
}
