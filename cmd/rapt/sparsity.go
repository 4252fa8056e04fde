package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"rapt/trainer"
	"rapt/trainer/metrics"
)

func (a *app) sparsityCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "sparsity CHECKPOINT|RUN",
		Short: "Count the pruned weights, filters and columns of each layer, and the bits of quantised ones",
		Example: `  rapt sparsity runs/mnist
  rapt sparsity runs/mnist/checkpoints/retrain/best.safetensors --json`,
		Args: positional("CHECKPOINT or RUN"),
		RunE: a.body(func(_ *cobra.Command, args []string) error {
			report, err := trainer.SparsityOf(args[0])
			if err != nil {
				return err
			}
			if a.json {
				return a.writeJSON(report)
			}
			describe(a.out, report, "")
			a.showSparsity(report)
			return nil
		}),
	}
}

// showSparsity prints the three ways in which people name a sparsity, and the layers; and what quantised weights take.
func (a *app) showSparsity(r *metrics.Report) {
	s := r.Sparsity
	fmt.Fprintf(a.out, "pruned %s, kept %s", percent(s.Sparsity), percent(1-s.Sparsity))
	if s.Compression > 0 {
		fmt.Fprintf(a.out, ", compression %.2fx", s.Compression)
	}
	if s.Type != "" {
		fmt.Fprintf(a.out, " (%s)", s.Type)
	}
	fmt.Fprintln(a.out)
	metrics.SparsityTable(a.out, s)
	if r.Quantization != nil {
		metrics.QuantizationTable(a.out, r.Quantization)
	}
}
