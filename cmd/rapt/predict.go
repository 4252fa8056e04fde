package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"rapt/trainer"
)

func (a *app) predictCommand() *cobra.Command {
	var at where
	var out string
	var images bool
	cmd := &cobra.Command{
		Use:   "predict CHECKPOINT|RUN --out FILE",
		Short: "Write the logits of the test images, as safetensors",
		Long: `Writes a safetensors file with the tensors logits, [N, classes] F32, and labels, [N] I64, of the test images; with --images also images, [N, C, H, W] F32 in [0, 1].
Where a logit is not a finite number nothing is written.`,
		Example: `  rapt predict runs/mnist --out logits.safetensors
  rapt predict model.safetensors --out logits.safetensors --limit 1000 --images`,
		Args: positional("CHECKPOINT or RUN"),
		RunE: a.interruptible(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			if err := firstError(checkOut("predict", "the logits", &out), at.check(cmd)); err != nil {
				return err
			}
			n, err := trainer.Predict(ctx, trainer.PredictOptions{
				Path: args[0], Out: out, Images: images, Limit: at.limit, BatchSize: at.batchSize, DataDir: at.dataDir, Device: at.device,
				Workers: at.workers, Console: a.console(),
			})
			if err != nil {
				return err
			}
			if a.json {
				return a.writeJSON(map[string]any{"out": out, "images": n})
			}
			fmt.Fprintf(a.out, "%s: logits and labels of %d images\n", out, n)
			return nil
		}),
	}
	cmd.Flags().StringVar(&out, "out", "", "the file to write (required)")
	cmd.Flags().BoolVar(&images, "images", false, "write the test images too, for other programs to judge the model by")
	at.add(cmd.Flags())
	return cmd
}
