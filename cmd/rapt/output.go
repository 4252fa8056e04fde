package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"

	"golang.org/x/term"

	"rapt/trainer"
	"rapt/trainer/metrics"
)

// writeJSON writes the one object of --json.
func (a *app) writeJSON(v any) error {
	encoder := json.NewEncoder(a.out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("cannot write the result to standard output: %w", err)
	}
	return nil
}

// console is where the work reports: standard output, or with --json standard error.
func (a *app) console() trainer.Console {
	w := a.out
	if a.json {
		w = a.err
	}
	return trainer.Console{Out: w, IsTTY: isTerminal(w)}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// describe is a report's first lines, each after the indent.
func describe(w io.Writer, r *metrics.Report, indent string) {
	fmt.Fprintf(w, "%s%s: %s (width %d%s) on %s", indent, r.Name, r.Arch, r.Width, compacted(r.Channels), r.Dataset)
	if r.Method != "" {
		fmt.Fprintf(w, ", training method %s", r.Method)
	}
	if r.Parameters > 0 {
		fmt.Fprintf(w, ", %d parameters", r.Parameters)
	}
	fmt.Fprintln(w)
	if r.Checkpoint != "" {
		fmt.Fprintf(w, "%smodel: %s%s\n", indent, r.Checkpoint, origin(r))
	}
}

// compacted says of a network that it has not all of its channels.
func compacted(channels map[string]int64) string {
	if len(channels) == 0 {
		return ""
	}
	return ", compacted"
}

// origin is the stage and epoch that a judged model comes from.
func origin(r *metrics.Report) (text string) {
	if r.Stage != "" {
		text = fmt.Sprintf(" (stage %s, epoch %d)", r.Stage, r.Epoch)
	}
	if r.CompactedFrom != "" {
		text += "; what rapt compact left of it"
	}
	if r.Unfinished {
		text += "; its run has not ended, so later stages may be to come"
	}
	return text
}

// fraction writes a radius as a number, and as k/255 where it is one.
func fraction(x float64) string {
	k := math.Round(x * 255)
	if k >= 1 && math.Abs(x*255-k) < 1e-9 {
		return fmt.Sprintf("%.6g (%g/255)", x, k)
	}
	return fmt.Sprintf("%.6g", x)
}

func percent(x float64) string { return fmt.Sprintf("%.2f %%", 100*x) }
