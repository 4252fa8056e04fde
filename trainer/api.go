// Package trainer runs the stages: it joins data, model, attack and ADMM, and owns the loop, the checkpoints and the
// metrics. It is the only room that knows the others.
package trainer

import (
	"errors"
	"io"
)

// InputError is a problem of what the user gave, found before any work.
type InputError struct{ Err error }

func (e *InputError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *InputError) Unwrap() error { return e.Err }

// ErrInterrupted ends a run whose context was cancelled: all is saved, the same command goes on.
var ErrInterrupted = errors.New("interrupted: saved; the same command goes on from here")

// Console is where a run reports to a person.
type Console struct {
	Out   io.Writer // log lines and progress; standard error when --json is given
	IsTTY bool      // Out is a terminal
}

// RunOptions of Run.
type RunOptions struct {
	Console   Console
	Stages    []string // of pretrain, admm, retrain, quantize_admm_1 and so on: only these; nil is the whole pipeline with its evaluation
	Overwrite bool     // begin anew where a run exists
	Version   string
}

// EvalOptions of Evaluate. Zero values mean what the checkpoint's metadata says.
type EvalOptions struct {
	Path              string // a run's folder or a checkpoint file
	Attacks           []string
	Epsilon, StepSize float64
	Limit             int // test images, 0 is all
	BatchSize         int // 0 is 1000
	DataDir, Device   string
	Workers           int
	Seed              uint64
	Console           Console
	Version           string
}

// PredictOptions of Predict.
type PredictOptions struct {
	Path, Out       string
	Limit           int
	BatchSize       int
	DataDir, Device string
	Workers         int
	Console         Console
}
