// Package metrics is what a run tells of itself: metric files for programs and
// TensorBoard, log and progress for a person, the report and its tables. Pure
// Go, no libtorch.
package metrics

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// Columns are the metrics of metrics.csv, in order, after ts, stage, epoch and
// step. Metrics of one layer are in metrics.jsonl and TensorBoard only.
var Columns = []string{
	"train/loss", "train/clean_acc", "train/adv_acc", "train/lr", "train/images_per_sec",
	"val/clean_acc", "val/pgd_acc",
	"admm/loss", "admm/rho", "admm/hard_prune_clean_acc", "admm/hard_prune_pgd_acc",
	"sparsity/total", "time/epoch_s", "gpu/mem_mb",
}

// Observer is told what a Logger writes: the arguments of Log and LogEpoch. It
// must not keep values.
type Observer interface {
	Observe(stage string, epoch int, step int64, values map[string]float64)
}

// Logger appends to a run's metrics.jsonl, metrics.csv and TensorBoard event
// file. It is not for several goroutines at once.
type Logger struct {
	Observer Observer // nil for none
	jsonl    *os.File
	csv      *csvFile
	events   *eventFile
	now      func() time.Time
}

// Open opens the metric files in dir. A new run (resume false) must not find
// any. A resumed one goes on at resumeStep, the first step to be logged again:
// rows of that step and later ones, and a row cut short by a kill, are removed,
// and TensorBoard is told to forget them. Steps count over all stages of a run.
func Open(dir string, resumeStep int64, resume bool) (*Logger, error) {
	jsonl, table := filepath.Join(dir, "metrics.jsonl"), filepath.Join(dir, "metrics.csv")
	flags := os.O_WRONLY | os.O_APPEND | os.O_CREATE
	if resume {
		if err := cutJSONL(jsonl, resumeStep); err != nil {
			return nil, fmt.Errorf("cannot resume the metrics: %w", err)
		}
		if err := cutCSV(table, resumeStep); err != nil {
			return nil, fmt.Errorf("cannot resume the metrics: %w", err)
		}
	} else {
		flags |= os.O_EXCL
	}
	l := &Logger{now: time.Now}
	err := func() (err error) {
		if l.jsonl, err = os.OpenFile(jsonl, flags, 0o644); err != nil {
			return err
		}
		if l.csv, err = openCSV(table, flags); err != nil {
			return err
		}
		l.events, err = openEvents(dir, resumeStep, resume)
		return err
	}()
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("cannot open the metrics: %w", err)
	}
	return l, nil
}

// Log adds a row of metrics to metrics.jsonl and TensorBoard. epoch counts
// within the stage, step over the run. What is not a number is kept as the
// string "NaN", "Infinity" or "-Infinity" in the .jsonl, since JSON has no such
// numbers.
func (l *Logger) Log(stage string, epoch int, step int64, values map[string]float64) error {
	return l.log(l.now(), stage, epoch, step, values)
}

// LogEpoch is Log, and a row of metrics.csv besides.
func (l *Logger) LogEpoch(stage string, epoch int, step int64, values map[string]float64) error {
	ts := l.now()
	if err := l.log(ts, stage, epoch, step, values); err != nil {
		return err
	}
	fixed := []string{stamp(ts), stage, strconv.Itoa(epoch), strconv.FormatInt(step, 10)}
	if err := l.csv.row(fixed, values); err != nil {
		return fmt.Errorf("cannot write metrics.csv: %w", err)
	}
	return nil
}

func (l *Logger) log(ts time.Time, stage string, epoch int, step int64, values map[string]float64) error {
	line, err := jsonLine(ts, stage, epoch, step, values)
	if err != nil {
		return fmt.Errorf("cannot write metrics.jsonl: %w", err)
	}
	if _, err := l.jsonl.Write(line); err != nil { // one write, so that a kill cuts one line at most
		return fmt.Errorf("cannot write metrics.jsonl: %w", err)
	}
	if err := l.events.scalars(ts, step, values); err != nil {
		return fmt.Errorf("cannot write the TensorBoard events: %w", err)
	}
	if l.Observer != nil {
		l.Observer.Observe(stage, epoch, step, values)
	}
	return nil
}

// Close syncs and closes the files.
func (l *Logger) Close() error {
	var errs []error
	if l.jsonl != nil {
		errs = append(errs, l.jsonl.Sync(), l.jsonl.Close())
	}
	if l.csv != nil {
		errs = append(errs, l.csv.file.Sync(), l.csv.file.Close())
	}
	if l.events != nil {
		errs = append(errs, l.events.file.Sync(), l.events.file.Close())
	}
	return errors.Join(errs...)
}

// jsonLine returns {"ts", "stage", "epoch", "step", metrics in sorted order}.
func jsonLine(ts time.Time, stage string, epoch int, step int64, values map[string]float64) ([]byte, error) {
	name, err := json.Marshal(stage)
	if err != nil {
		return nil, err
	}
	b := fmt.Appendf(nil, `{"ts":%q,"stage":%s,"epoch":%d,"step":%d`, stamp(ts), name, epoch, step)
	for _, k := range slices.Sorted(maps.Keys(values)) {
		key, err := json.Marshal(k)
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, ','), key...), ':')
		if v := values[k]; math.IsNaN(v) || math.IsInf(v, 0) {
			b = strconv.AppendQuote(b, number(v))
		} else {
			b = append(b, number(v)...)
		}
	}
	return append(b, '}', '\n'), nil
}

// number prints the shortest decimal that gives v back.
func number(v float64) string {
	switch {
	case math.IsNaN(v):
		return "NaN"
	case math.IsInf(v, 1):
		return "Infinity"
	case math.IsInf(v, -1):
		return "-Infinity"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
