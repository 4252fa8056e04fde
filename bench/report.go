package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// results is what a run of the benchmarks found: bench/results/NAME.json.
type results struct {
	Machine   string `json:"machine"`
	Device    string `json:"device"`
	Libtorch  string `json:"libtorch"`
	Reference string `json:"reference"` // its PyTorch and numpy
	Commit    string `json:"commit"`
	Date      string `json:"date"`
	Rounds    int    `json:"rounds"`
	Quick     bool   `json:"quick,omitempty"` // too few steps for numbers to quote
	Rates     *rates `json:"rates,omitempty"`
	Rows      []row  `json:"rows"`
}

// row is one comparison. Times are medians, in milliseconds.
type row struct {
	Name      string  `json:"name"`
	Ours      float64 `json:"ours_ms,omitempty"`
	Reference float64 `json:"reference_ms,omitempty"` // at the best of all settings tried
	Ratio     float64 `json:"ratio,omitempty"`        // reference / ours
	Floor     float64 `json:"floor_ms,omitempty"`     // what the machine's own rates allow
	Share     float64 `json:"share,omitempty"`        // floor / ours

	Setting   string             `json:"reference_setting,omitempty"`    // the best one
	Default   float64            `json:"reference_default_ms,omitempty"` // PyTorch as it comes
	Tried     map[string]float64 `json:"reference_tried_ms,omitempty"`   // by setting, in a few steps each
	Samples   int                `json:"samples,omitempty"`              // of ours
	GFLOP     float64            `json:"gflop,omitempty"`                // what the floor is made of
	GB        float64            `json:"gigabytes,omitempty"`
	Workers   []scale            `json:"workers,omitempty"`
	Scaling   float64            `json:"scaling,omitempty"` // throughput with all workers / with one
	Note      string             `json:"note,omitempty"`
	Skipped   string             `json:"skipped,omitempty"` // why nothing was measured
	Failed    string             `json:"failed,omitempty"`
	precision string             // what its floor is for; empty is fp32
}

// scale is the throughput of so many workers.
type scale struct {
	Workers         int     `json:"workers"`
	Milliseconds    float64 `json:"ms"`
	ImagesPerSecond float64 `json:"images_per_second"`
}

// finish fills in what follows from the rest.
func (r *row) finish(rates *rates) {
	if r.Ours == 0 {
		return
	}
	r.Ratio = r.Reference / r.Ours
	if rates != nil && (r.GFLOP > 0 || r.GB > 0) {
		r.Floor = 1e3 * max(r.GFLOP/rates.of(r), r.GB/rates.Bandwidth)
		r.Share = r.Floor / r.Ours
	}
	for _, v := range []*float64{&r.Ours, &r.Reference, &r.Default, &r.Ratio, &r.Floor, &r.Share, &r.Scaling, &r.GFLOP, &r.GB} {
		*v = round(*v)
	}
	for name, v := range r.Tried {
		r.Tried[name] = round(v)
	}
	for i := range r.Workers {
		r.Workers[i].Milliseconds, r.Workers[i].ImagesPerSecond = round(r.Workers[i].Milliseconds), round(r.Workers[i].ImagesPerSecond)
	}
}

// round leaves the digits that mean something.
func round(v float64) float64 { return math.Round(v*1e4) / 1e4 }

// write puts the results into a file, all of it or nothing.
func (r *results) write(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return renameio.WriteFile(path, append(b, '\n'), 0o644)
}

// table writes the rows as a Markdown table, and below it what was left out.
func (r *results) table(w io.Writer) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(table.Row{"name", "rapt ms", "PyTorch ms", "ratio", "floor ms", "share"})
	columns := []table.ColumnConfig{}
	for i := range 5 {
		columns = append(columns, table.ColumnConfig{Number: i + 2, Align: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
	number := func(format string, v float64) string {
		if v == 0 {
			return "-"
		}
		return fmt.Sprintf(format, v)
	}
	for _, one := range r.Rows {
		if one.Skipped == "" && one.Failed == "" {
			t.AppendRow(table.Row{one.Name, number("%.2f", one.Ours), number("%.2f", one.Reference), number("%.2fx", one.Ratio),
				number("%.2f", one.Floor), number("%.0f %%", 100*one.Share)})
		}
	}
	t.RenderMarkdown()
	for _, one := range r.Rows {
		for _, s := range one.Workers {
			fmt.Fprintf(w, "\n%s: %d workers, %.0f images/s", one.Name, s.Workers, s.ImagesPerSecond)
		}
		if one.Scaling > 0 {
			fmt.Fprintf(w, ": %.2fx", one.Scaling)
		}
		if one.Skipped != "" {
			fmt.Fprintf(w, "\n%s: skipped: %s", one.Name, one.Skipped)
		}
		if one.Failed != "" {
			fmt.Fprintf(w, "\n%s: FAILED: %s", one.Name, one.Failed)
		}
	}
	fmt.Fprintln(w)
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}
