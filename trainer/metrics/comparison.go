package metrics

import (
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
)

// Comparison is what `rapt compare --json` prints.
type Comparison struct {
	A     *Report `json:"a"`
	B     *Report `json:"b"`
	Pairs []Pair  `json:"pairs"` // clean, each attack, worst case
}

// Pair counts images by which of two models gets them right.
type Pair struct {
	Measure string  `json:"measure"`
	Both    int     `json:"both"`
	OnlyA   int     `json:"only_a"`
	OnlyB   int     `json:"only_b"`
	Neither int     `json:"neither"`
	P       float64 `json:"p"` // McNemar's, exact and two-sided
}

// Count adds an image.
func (p *Pair) Count(a, b bool) {
	switch {
	case a && b:
		p.Both++
	case a:
		p.OnlyA++
	case b:
		p.OnlyB++
	default:
		p.Neither++
	}
}

// accuracies of A and B, per cent.
func (p Pair) accuracies() (a, b float64) {
	n := float64(max(1, p.Both+p.OnlyA+p.OnlyB+p.Neither))
	return 100 * float64(p.Both+p.OnlyA) / n, 100 * float64(p.Both+p.OnlyB) / n
}

// ComparisonTable writes a row for each measure: both accuracies, their difference, the images that only one of the models gets right, and p.
func ComparisonTable(w io.Writer, c *Comparison) {
	t := newTable(w, table.Row{"", "A %", "B %", "B - A", "only A right", "only B right", "p"})
	for _, p := range c.Pairs {
		a, b := p.accuracies()
		t.AppendRow(table.Row{p.Measure, fmt.Sprintf("%.2f", a), fmt.Sprintf("%.2f", b), fmt.Sprintf("%+.2f", b-a), p.OnlyA, p.OnlyB, fmt.Sprintf("%.3g", p.P)})
	}
	t.Render()
}

// Transfer is what `rapt transfer --json` prints: accuracies of each model on images that were crafted on each.
type Transfer struct {
	Models  []TransferModel `json:"models"`
	Attacks []Attack        `json:"attacks"`
	// Accuracy[attack][i][j] is model j's on images crafted on model i; WorstCase the same, per image over all attacks.
	Accuracy  map[string][][]float64 `json:"accuracy"`
	WorstCase [][]float64            `json:"worst_case_accuracy"`
	Images    int                    `json:"images"`
}

// TransferModel is one of the models.
type TransferModel struct {
	Path  string  `json:"path"`
	Name  string  `json:"name"`
	Arch  string  `json:"arch"`
	Width int     `json:"width"`
	Clean float64 `json:"clean_accuracy"`
}

// TransferTable writes the worst case: a row for each model that images were crafted on, a column for each that was tested, and the clean
// accuracies above. Models are numbered.
func TransferTable(w io.Writer, t *Transfer) {
	header, clean := table.Row{"crafted on"}, table.Row{"(clean)"}
	for j, m := range t.Models {
		header, clean = append(header, fmt.Sprintf("%d %%", j+1)), append(clean, Percent(m.Clean))
	}
	out := newTable(w, header)
	out.AppendRow(clean)
	out.AppendSeparator()
	for i, row := range t.WorstCase {
		cells := table.Row{fmt.Sprint(i + 1)}
		for _, v := range row {
			cells = append(cells, Percent(v))
		}
		out.AppendRow(cells)
	}
	out.Render()
}
