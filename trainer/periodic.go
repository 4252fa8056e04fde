package trainer

import (
	"time"

	"rapt/trainer/config"
)

// periodic says when a checkpoint within an epoch is due: run.save_every.
type periodic struct {
	steps int           // so many steps of an epoch apart; 0: by time
	after time.Duration // since the last one; 0: never
	last  time.Time
}

func newPeriodic(every config.Interval) periodic {
	steps, after, _ := every.Every() // the config has been checked
	return periodic{steps: steps, after: after, last: time.Now()}
}

// due tells whether a checkpoint is, after so many steps of an epoch.
func (s *periodic) due(step int) bool {
	if s.steps > 0 {
		return step%s.steps == 0
	}
	return s.after > 0 && time.Since(s.last) >= s.after
}

// saveWithin saves the stage in the midst of its epoch where that is due, and tells of an earlier save that failed meanwhile.
func (p *pipeline) saveWithin(st *stage) error {
	if err := p.run.Failed(); err != nil {
		return err
	}
	if !p.periodic.due(st.saved.Step) {
		return nil
	}
	if err := p.addTotals(st); err != nil { // before a model that is not finite replaces a good one
		return err
	}
	return p.save(st, "last")
}
