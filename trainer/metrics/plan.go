package metrics

import (
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
)

// Plan is what `rapt plan --json` prints: what a config would do, before anything is trained.
type Plan struct {
	Schema   int              `json:"schema"` // 1
	Name     string           `json:"name"`
	Dataset  string           `json:"dataset"`
	Arch     string           `json:"arch"`
	Width    int              `json:"width"`
	Channels map[string]int64 `json:"channels,omitempty"` // as in Report
	Method   string           `json:"method"`
	Type     string           `json:"sparsity_type"`

	Resolved bool        `json:"resolved"` // the ratios are those that the run will have
	Note     string      `json:"note,omitempty"`
	Budget   *PlanBudget `json:"budget,omitempty"`
	Layers   []PlanLayer `json:"layers"`  // all that the type could prune
	Wired    bool        `json:"wired"`   // it is known of some channels which layers read them; else nothing is said to shrink
	Coupled  [][]string  `json:"coupled"` // layers that share channels: they are added together, or one is the other's depthwise convolution
	Whole    []string    `json:"whole"`   // layers whose channels go on in a way that is not followed: none can be taken out

	Parameters PlanCount  `json:"parameters"`
	MACs       PlanCount  `json:"macs"`  // multiply-accumulates for one image
	Bytes      PlanBytes  `json:"bytes"` // of the parameters
	Memory     PlanMemory `json:"memory"`
	Disk       int64      `json:"disk_bytes"`     // of the checkpoints of all stages, at most
	Time       *PlanTime  `json:"time,omitempty"` // where it was measured
}

// PlanBudget is the config's budget and what the ratios keep of it.
type PlanBudget struct {
	Of      string  `json:"of"` // keep or macs
	Wanted  float64 `json:"wanted"`
	Reached float64 `json:"reached"`
	Method  string  `json:"method"` // that the ratios here come from
}

// PlanLayer is one layer's part. A filter is a row of [out, everything else], a column a column.
type PlanLayer struct {
	Name        string  `json:"name"`
	Shape       []int64 `json:"shape"`
	Ratio       float64 `json:"ratio"`
	Weights     int64   `json:"weights"`
	WeightsKept int64   `json:"weights_kept"`
	Filters     int64   `json:"filters"`
	FiltersKept int64   `json:"filters_kept"` // those that pruning by another type may empty are counted as kept
	Columns     int64   `json:"columns"`
	ColumnsKept int64   `json:"columns_kept"`
	MACs        int64   `json:"macs"`
	MACsKept    int64   `json:"macs_kept"`
	Shrinks     bool    `json:"shrinks"` // what is removed can be taken out, and the layer be a smaller dense one
	Why         string  `json:"why,omitempty"`
}

// PlanCount is of the dense network, of what is not zero, and of the network without the channels that are sure to be gone: rapt compact may find more,
// and may leave a constant channel behind a layer.
type PlanCount struct {
	Before int64 `json:"before"`
	After  int64 `json:"after"`
	Shrunk int64 `json:"shrunk"`
}

// PlanBytes are float32's sizes. An index is that of a weight's column, in 2 bytes or, of more than 65536 columns, 4, with 4 for where
// each row begins; or 4 for each filter, column or channel that is kept.
type PlanBytes struct {
	Dense         int64 `json:"dense"`
	SparseValues  int64 `json:"sparse_without_indices"`
	SparseIndexed int64 `json:"sparse_with_indices"`
	Shrunk        int64 `json:"shrunk"`
}

// PlanMemory estimates what the stage that takes most holds at once, in bytes. Data sets and libtorch itself come on top.
type PlanMemory struct {
	Stage       string `json:"stage"`
	Weights     int64  `json:"weights"`
	Gradients   int64  `json:"gradients"`
	Optimizer   int64  `json:"optimizer"`
	ADMM        int64  `json:"admm"` // Z and U
	Masks       int64  `json:"masks"`
	Activations int64  `json:"activations"` // of a batch, and their gradients
	Total       int64  `json:"total"`
}

// PlanTime estimates from a few measured steps.
type PlanTime struct {
	Device  string      `json:"device"`
	Stages  []StageTime `json:"stages"`
	Seconds float64     `json:"seconds"`
}

// StageTime is one stage's part, its validation and its test with it.
type StageTime struct {
	Stage   string  `json:"stage"`
	Epochs  int     `json:"epochs"`
	Steps   int     `json:"steps"`
	StepMS  float64 `json:"step_ms"`
	Seconds float64 `json:"seconds"`
}

// PlanTable writes a plan for a person.
func PlanTable(w io.Writer, p *Plan) {
	t := newTable(w, table.Row{"layer", "shape", "ratio", "weights kept", "filters", "columns", "MACs kept", "shrinks"})
	for _, l := range p.Layers {
		shrinks := "-"
		switch {
		case l.Shrinks:
			shrinks = "yes"
		case l.Ratio > 0:
			shrinks = "no, sparse"
		}
		t.AppendRow(table.Row{l.Name, shape(l.Shape), fmt.Sprintf("%.4g", l.Ratio), of(l.WeightsKept, l.Weights), of(l.FiltersKept, l.Filters),
			of(l.ColumnsKept, l.Columns), of(l.MACsKept, l.MACs), shrinks})
	}
	t.Render()
	for _, l := range p.Layers {
		if l.Why != "" {
			fmt.Fprintf(w, "%s: %s\n", l.Name, l.Why)
		}
	}
	for _, group := range p.Coupled {
		fmt.Fprintln(w, "coupled, channel by channel:", strings.Join(group, ", "))
	}
	switch {
	case !p.Wired:
		fmt.Fprintln(w, "which layers read which channels is not known of this network: nothing is said to shrink")
	case len(p.Whole) > 0:
		fmt.Fprintln(w, "their channels go on in a way that rapt does not follow, and none can be taken out:", strings.Join(p.Whole, ", "))
	}
	t = newTable(w, table.Row{"", "before", "not zero", "kept %", "rate", "shrunk"})
	for _, row := range []struct {
		name string
		PlanCount
	}{{"parameters", p.Parameters}, {"MACs", p.MACs}} {
		t.AppendRow(table.Row{row.name, row.Before, row.After, Percent(float64(row.After) / float64(row.Before)), Times(rate(row.Before, row.Before-row.After)), row.Shrunk})
	}
	t.Render()
	shrunk := ""
	if p.Bytes.Shrunk < p.Bytes.Dense {
		shrunk = ", about " + sized(p.Bytes.Shrunk) + " or less by rapt compact"
	}
	fmt.Fprintf(w, "size: %s dense, %s sparse without indices, %s with%s\n", sized(p.Bytes.Dense), sized(p.Bytes.SparseValues), sized(p.Bytes.SparseIndexed), shrunk)
	m := p.Memory
	fmt.Fprintf(w, "memory, estimated: %s in %s (weights %s, gradients %s, optimizer %s, Z and U %s, masks %s, activations %s), and the data and libtorch\n", sized(m.Total),
		m.Stage, sized(m.Weights), sized(m.Gradients), sized(m.Optimizer), sized(m.ADMM), sized(m.Masks), sized(m.Activations))
	fmt.Fprintf(w, "disk: up to %s of checkpoints\n", sized(p.Disk))
}

// PlanTimes writes the estimates of time, where there are any.
func PlanTimes(w io.Writer, p *Plan) {
	if p.Time != nil {
		for _, s := range p.Time.Stages {
			fmt.Fprintf(w, "time of %s, estimated: %s (%d epochs, %d steps of %.1f ms, validation and test)\n", s.Stage, Seconds(s.Seconds), s.Epochs, s.Steps, s.StepMS)
		}
		fmt.Fprintf(w, "time of all, estimated: %s on %s\n", Seconds(p.Time.Seconds), p.Time.Device)
	}
}

func shape(dims []int64) string {
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(dims), "[]"), " ", "x")
}

func of(kept, all int64) string { return fmt.Sprintf("%d/%d", kept, all) }

func sized(n int64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%d B", n)
	case n < 10_000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}
