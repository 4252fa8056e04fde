package metrics

import (
	"fmt"
	"io"
)

// Compaction is what `rapt compact --json` prints: a checkpoint and the smaller one of the same function.
type Compaction struct {
	Schema     int    `json:"schema"` // 1
	Checkpoint string `json:"checkpoint"`
	Out        string `json:"out"`
	Dataset    string `json:"dataset"`
	Arch       string `json:"arch"`
	Width      int    `json:"width"`
	Unfinished bool   `json:"unfinished,omitempty"` // the checkpoint is that of a run that has not ended

	Reduction
	Bytes           Change   `json:"bytes"` // of the files
	ImagesPerSecond Measured `json:"images_per_second"`
	Device          string   `json:"device"`
}

// Reduction is what taking channels out made of a network, and how both were compared.
type Reduction struct {
	Channels   []CompactedChannels `json:"channels"` // all but the classes
	Parameters Change              `json:"parameters"`
	MACs       Change              `json:"macs"` // multiply-accumulates for one image

	Images            int      `json:"images"` // compared
	SameClass         int      `json:"same_class"`
	LargestDifference float64  `json:"largest_difference"` // of a logit
	CleanAccuracy     Measured `json:"clean_accuracy"`
}

// CompactedChannels are those that one layer makes, or several that share them.
type CompactedChannels struct {
	Layers []string `json:"layers"`
	Before int64    `json:"before"`
	After  int64    `json:"after"`
}

// Change is a number before and after.
type Change struct {
	Before int64 `json:"before"`
	After  int64 `json:"after"`
}

// Rate is how many times less there is after, as text.
func (c Change) Rate() string { return Times(float64(c.Before) / float64(c.After)) }

// Measured is a number that was measured, before and after.
type Measured struct {
	Before float64 `json:"before"`
	After  float64 `json:"after"`
}

// String is a clause.
func (r *Reduction) String() string {
	return fmt.Sprintf("%d of %d parameters (%s fewer), %d of %d MACs (%s fewer); before its training %d of %d validation images had the whole network's class, logits differed by %.2g at most",
		r.Parameters.After, r.Parameters.Before, r.Parameters.Rate(), r.MACs.After, r.MACs.Before, r.MACs.Rate(), r.SameClass, r.Images, r.LargestDifference)
}

// ReductionLines say what a run's smaller network is beside its whole one; nothing where it has none.
func ReductionLines(w io.Writer, r *Report) {
	for _, st := range r.Stages {
		if c := st.Reduction; c != nil {
			fmt.Fprintf(w, "%s: %s\n", st.Stage, c)
		}
	}
}

// CompactionTable writes the channels that are left of each layer, and what that makes of the network.
func CompactionTable(w io.Writer, c *Compaction) {
	var rows [][]string
	number := func(n int64) string { return fmt.Sprint(n) }
	for _, g := range c.Channels {
		name := g.Layers[0]
		if n := len(g.Layers); n > 1 {
			name = fmt.Sprintf("%s and %d more", name, n-1)
		}
		rows = append(rows, []string{name, number(g.Before), number(g.After)})
	}
	Grid(w, []string{"channels of", "before", "after"}, rows)
	change := func(name string, n Change, show func(int64) string) []string {
		return []string{name, show(n.Before), show(n.After), n.Rate()}
	}
	speed := func(v float64) string { return fmt.Sprintf("%.0f", v) }
	Grid(w, []string{"", "before", "after", "rate"}, [][]string{
		change("parameters", c.Parameters, number), change("MACs", c.MACs, number), change("file", c.Bytes, sized),
		{"images/s, " + c.Device, speed(c.ImagesPerSecond.Before), speed(c.ImagesPerSecond.After), Times(c.ImagesPerSecond.After / c.ImagesPerSecond.Before)},
	})
	fmt.Fprintf(w, "%d test images: %d have the same class, logits differ by %.2g at most; clean accuracy %s %%, before %s %%\n",
		c.Images, c.SameClass, c.LargestDifference, Percent(c.CleanAccuracy.After), Percent(c.CleanAccuracy.Before))
}
