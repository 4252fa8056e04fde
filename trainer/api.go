// Package trainer runs the stages: it joins data, model, attack and ADMM, and owns the loop, the checkpoints and the
// metrics. It is the only room that knows the others.
package trainer

import (
	"errors"
	"io"

	"rapt/trainer/metrics"
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
	Stages    []string // of pretrain, admm, retrain, compact, quantize_admm_1 and so on: only these; nil is the whole pipeline with its evaluation
	Overwrite bool     // begin anew where a run exists
	Version   string
	Observer  metrics.Observer // is told each row of metrics; nil for none
}

// EvalOptions of Evaluate. Zero values mean what the checkpoint's metadata says.
type EvalOptions struct {
	Path              string // a run's folder or a checkpoint file
	Attacks           []string
	Norm              string // Linf, L2 or L1
	Epsilon, StepSize float64
	Restarts          int    // of single attacks; 0 is 1
	Limit             int    // test images, 0 is all
	BatchSize         int    // on a GPU; 0 is 1000. A CPU takes small chunks, which stay in its cache
	DataDir, Device   string // Device may name several GPUs, such as cuda:0,cuda:1
	Workers           int
	Seed              uint64
	Console           Console
	Version           string

	Epsilons  []float64 // a curve of the first attack's accuracy by radius, rising
	Suspicion *bool     // look for signs that attacks failed where the network is not robust; nil: where one of them is an autoattack
	State     string    // where the work is saved while it is under way; empty: a place beside the model
	Files     EvalFiles
}

// EvalFiles are the files that Evaluate writes; those that are empty are left out.
type EvalFiles struct {
	CSV   string // a line for each image
	Curve string // CSV too
	// Images is a safetensors file of the adversarial images: images, labels, predictions, broken_by.
	Images string
	Grid   string // PNG: original, change and adversarial image of the first that were broken
}

// PredictOptions of Predict.
type PredictOptions struct {
	Path, Out       string
	Images          bool // write the images too
	Limit           int
	BatchSize       int
	DataDir, Device string
	Workers         int
	Console         Console
}
