package trainer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	torch "rapt/cgo"
)

// memoryError ends a run that had too little memory.
type memoryError struct {
	text  string
	cause error
}

func (e *memoryError) Error() string {
	return fmt.Sprintf("%s (%s)", e.text, strings.Join(strings.Fields(e.cause.Error()), " "))
}

// Unwrap lets errors.Is find torch.ErrOutOfMemory.
func (e *memoryError) Unwrap() error { return e.cause }

// exhausted adds to an error of too little memory what to lower; other errors stay as they are. Everything but the network's width is to be
// had without another model: so it stands last.
func (p *pipeline) exhausted(err error, devices []torch.Device) error {
	if !errors.Is(err, torch.ErrOutOfMemory) {
		return err
	}
	c := p.cfg
	lower := fmt.Sprintf("data.batch_size (%d) or ", c.Data.BatchSize)
	if devices[0].IsCUDA() {
		lower += fmt.Sprintf("data.eval_batch_size (%d)", c.Data.EvalBatchSize)
	} else { // which evaluates in small chunks, whatever the config says
		lower += fmt.Sprintf("run.workers (%d)", c.Run.Threads())
	}
	if w := c.Model.Width; w > 1 {
		lower = strings.Replace(lower, " or ", ", ", 1) + fmt.Sprintf(" or model.width (%d)", w)
	}
	return &memoryError{fmt.Sprintf("out of memory on %s: lower %s, in a run of another run.name or with --overwrite; "+
		"rapt doctor --find-batch %s finds the batch that fits; %s", NamesOf(devices), lower, p.run.Path("config.yaml"), p.kept()), err}
}

// kept names the newest of the stages' last checkpoints.
func (p *pipeline) kept() string {
	_ = p.run.Wait()                                                    // a save that failed is not kept
	names, _ := fs.Glob(os.DirFS(p.run.Dir), "checkpoints/*/last.json") // fails only for a bad pattern
	var newest time.Time
	text := "no checkpoint had been saved yet"
	for _, name := range names {
		if info, err := os.Stat(p.run.Path(name)); err == nil && info.ModTime().After(newest) {
			newest = info.ModTime()
			text = "the last checkpoint is kept: " + p.run.CheckpointPath(path.Base(path.Dir(name)), "last")
		}
	}
	return text
}
