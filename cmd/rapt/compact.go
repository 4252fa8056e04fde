package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"rapt/trainer"
	"rapt/trainer/metrics"
)

func (a *app) compactCommand() *cobra.Command {
	var at where
	var out string
	cmd := &cobra.Command{
		Use:   "compact RUN|CHECKPOINT --out FILE",
		Short: "Write a pruned model as a smaller dense one, without the channels that pruning emptied",
		Long: `Takes the channels out that pruning emptied, by filter, coupled_filter or bn_filter above all, with all that made and read them, and writes the smaller dense network as a
checkpoint like any other: rapt eval, compare and predict take it. It is the same function: before it is written its logits on the test images are compared with
those of the whole model, and where they differ by more than rounding nothing is written (exit 3). The data set must be there for that. A FILE that is there is
replaced.`,
		Example: `  rapt compact runs/mnist-filter --out small.safetensors
  rapt compare runs/mnist-filter small.safetensors`,
		Args: positional("RUN or CHECKPOINT"),
		RunE: a.interruptible(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			if err := firstError(checkOut("compact", "the smaller model", &out), at.check(cmd)); err != nil {
				return err
			}
			c, err := trainer.Compact(ctx, trainer.CompactOptions{
				Path: args[0], Out: out, Limit: at.limit, BatchSize: at.batchSize, DataDir: at.dataDir, Device: at.device, Workers: at.workers,
				Console: a.console(),
			})
			if err != nil {
				return err
			}
			if a.json {
				return a.writeJSON(c)
			}
			fmt.Fprintf(a.out, "%s: %s (width %d) of %s, without the channels that are not in use\n", c.Out, c.Arch, c.Width, c.Checkpoint)
			if c.Unfinished {
				fmt.Fprintln(a.out, "its run has not ended, so later stages may be to come")
			}
			metrics.CompactionTable(a.out, c)
			return nil
		}),
	}
	cmd.Flags().StringVar(&out, "out", "", "the file to write (required)")
	at.add(cmd.Flags())
	return cmd
}
