package metrics

import (
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
)

// ADMM says how near an ADMM stage came to what it was after, where it ended: at its last update of Z and U, or
// where more epochs followed, as an update would find it. HardPrune accuracies are on validation images, of the
// model as it would be pruned then; robust is under the attack that is trained against.
type ADMM struct {
	Updates                 int         `json:"updates"`
	Rho                     float64     `json:"rho"` // the largest of the layers'
	Layers                  []ADMMLayer `json:"layers"`
	HardPruneCleanAccuracy  float64     `json:"hard_prune_clean_accuracy"`
	HardPruneRobustAccuracy float64     `json:"hard_prune_robust_accuracy"`
}

// ADMMLayer is one layer's part. All numbers are fractions: of the norm of its weights W, or of its square.
type ADMMLayer struct {
	Name      string  `json:"name"`
	Primal    float64 `json:"primal"`    // ||W - Z|| / ||W||
	Dual      float64 `json:"dual"`      // ||Z - Z before|| / ||W||
	Energy    float64 `json:"energy"`    // ||W - pruned W||^2 / ||W||^2
	Converged bool    `json:"converged"` // primal and dual are at most 1 %
	Advice    string  `json:"advice"`    // one sentence; empty where it has converged
}

// ADMMTable writes a row for each layer of each ADMM stage: how far it was from having converged, and what pruning
// took away. Nothing is written where there is no such stage.
func ADMMTable(w io.Writer, r *Report) {
	t := newTable(w, table.Row{"layer", "stage", "primal %", "dual %", "cut energy %", "converged"})
	for _, s := range r.Stages {
		if s.ADMM == nil {
			continue
		}
		for _, l := range s.ADMM.Layers {
			t.AppendRow(table.Row{l.Name, s.Stage, Percent(l.Primal), Percent(l.Dual), Percent(l.Energy), map[bool]string{true: "yes", false: "no"}[l.Converged]})
		}
	}
	if t.Length() > 0 {
		t.Render()
	}
}
