package checkpoint

import (
	"encoding/json"
	"fmt"
)

// aside is a save under way, or ended with err.
type aside struct {
	done chan struct{}
	err  error
}

// SaveAside is SaveCheckpoint while the caller goes on: info is fixed when it returns, and the data of model and state must not be changed
// any more. Saves reach the disk in their order; two may be under way, a third waits for the first. A save that failed fails those after
// it, and its error comes from Failed, Wait and all that reads or writes a checkpoint.
func (r *Run) SaveAside(stage, which string, model *File, info any, state *File) error {
	raw, err := json.Marshal(info)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", r.checkpoint(stage, which)+sealEnd, err)
	}
	if r.earlier != nil {
		<-r.earlier.done
	}
	if err := r.Failed(); err != nil {
		return err
	}
	before := r.latest
	now := &aside{done: make(chan struct{})}
	r.earlier, r.latest = before, now
	go func() {
		defer close(now.done)
		if before != nil {
			<-before.done
			now.err = before.err
		}
		if now.err == nil {
			now.err = r.write(stage, which, model, raw, state)
		}
	}()
	return nil
}

// Wait waits until all that SaveAside began is on the disk.
func (r *Run) Wait() error {
	if r.latest == nil {
		return nil
	}
	<-r.latest.done
	return r.latest.err
}

// Failed is the error of a save that has ended, without waiting for one that has not.
func (r *Run) Failed() error {
	for _, a := range []*aside{r.earlier, r.latest} {
		if a == nil {
			continue
		}
		select {
		case <-a.done:
			if a.err != nil {
				return a.err
			}
		default:
		}
	}
	return nil
}
