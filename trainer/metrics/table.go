package metrics

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Table writes the closing table of a run: a row for each stage and, below a
// line, each baseline. Accuracies are per cent.
func Table(w io.Writer, r *Report) {
	attacks := map[string]bool{}
	for _, s := range slices.Concat(r.Stages, r.Baselines) {
		for a := range s.RobustAccuracy {
			attacks[a] = true
		}
	}
	names := slices.Sorted(maps.Keys(attacks))
	header := table.Row{"stage", "clean %"}
	for _, a := range names {
		header = append(header, a+" %")
	}
	t := newTable(w, append(header, "pruned %", "compression", "time"))
	row := func(s StageResult) {
		cells := table.Row{s.Stage, Percent(s.CleanAccuracy)}
		for _, a := range names {
			if acc, ok := s.RobustAccuracy[a]; ok {
				cells = append(cells, Percent(acc))
			} else {
				cells = append(cells, "-")
			}
		}
		t.AppendRow(append(cells, Percent(s.Sparsity), Times(s.Compression), Seconds(s.Seconds)))
	}
	for _, s := range r.Stages {
		row(s)
	}
	if len(r.Baselines) > 0 {
		t.AppendSeparator()
		for _, s := range r.Baselines {
			row(s)
		}
	}
	t.Render()
}

// Grid writes rows of text under a header; cells that are numbers stand to the right.
func Grid(w io.Writer, header []string, rows [][]string) {
	row := func(cells []string) (out table.Row) {
		for _, c := range cells {
			out = append(out, c)
		}
		return out
	}
	t := newTable(w, row(header))
	for _, r := range rows {
		t.AppendRow(row(r))
	}
	t.Render()
}

// SparsityTable writes a row for each layer and a total: the share pruned and
// kept, the rate, and how many filters and columns are zero throughout.
func SparsityTable(w io.Writer, s Sparsity) {
	if s.Type == "bn_filter" {
		fmt.Fprintln(w, "counted are the batch norms' scales; rapt plan tells what of the network goes with their channels")
	}
	t := newTable(w, table.Row{"layer", "weights", "pruned %", "kept %", "rate", "zero filters", "zero columns"})
	for _, l := range s.Layers {
		t.AppendRow(table.Row{l.Name, l.Numel, Percent(l.Sparsity), Percent(1 - l.Sparsity), Times(rate(l.Numel, l.Zeros)),
			fmt.Sprintf("%d/%d", l.ZeroFilters, l.Filters), fmt.Sprintf("%d/%d", l.ZeroColumns, l.Columns)})
	}
	t.AppendSeparator()
	t.AppendRow(table.Row{"total", s.Weights, Percent(s.Sparsity), Percent(1 - s.Sparsity), Times(s.Compression), "", ""})
	t.Render()
}

// newTable returns a plain ASCII table, names to the left, numbers to the right.
func newTable(w io.Writer, header table.Row) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(header)
	columns := make([]table.ColumnConfig, 0, len(header))
	for i := 2; i <= len(header); i++ {
		columns = append(columns, table.ColumnConfig{Number: i, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
	return t
}

// SortAttacks has each attack's name once, pgd-20 before pgd-100.
func SortAttacks(names []string) []string {
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) })
	return slices.Compact(names)
}

// Percent prints a fraction in per cent.
func Percent(x float64) string { return fmt.Sprintf("%.2f", 100*x) }

// Times prints a compression; 0 stands for nothing left.
func Times(x float64) string {
	if x == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2fx", x)
}

// Seconds prints 12.3s below a minute and 1h2m3s above.
func Seconds(s float64) string {
	if s < 60 {
		return fmt.Sprintf("%.1fs", s)
	}
	return time.Duration(s * float64(time.Second)).Round(time.Second).String()
}

// EvaluationTables writes an evaluation's accuracies by class and, where there is one, its curve by radius.
func EvaluationTables(w io.Writer, r *Report) {
	e := r.Evaluation
	header := table.Row{"class", "images", "clean %"}
	for _, a := range r.Attacks {
		header = append(header, a.Name+" %")
	}
	t := newTable(w, append(header, "worst case %"))
	for _, c := range e.Classes {
		class := strings.TrimSpace(fmt.Sprint(c.Class, " ", c.Name))
		cells := table.Row{class, c.Images, Percent(c.Clean)}
		for _, a := range r.Attacks {
			cells = append(cells, Percent(c.Robust[a.Name]))
		}
		t.AppendRow(append(cells, Percent(c.WorstCase)))
	}
	t.Render()
	if e.Curve == nil {
		return
	}
	t = newTable(w, table.Row{"epsilon (" + e.Curve.Norm + ")", e.Curve.Attack + " %", "95 % from", "to"})
	for _, p := range e.Curve.Points {
		t.AppendRow(table.Row{fmt.Sprintf("%.6g", p.Epsilon), Percent(p.Accuracy), Percent(p.Interval[0]), Percent(p.Interval[1])})
	}
	t.Render()
}
