package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"rapt/trainer"
	"rapt/trainer/config"
	"rapt/trainer/metrics"
)

var stages = []string{"pretrain", "admm", "retrain", "quantize_admm_1", "quantize_retrain_1", "quantize_admm", "quantize_retrain"}

// runFlags are those of run and train.
type runFlags struct {
	sets      []string
	overwrite bool
}

func (f *runFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.sets, "set", nil, "override a key of the config: section.key=value (may be repeated)")
	cmd.Flags().BoolVar(&f.overwrite, "overwrite", false, "begin anew where the run's folder holds a run")
}

func (a *app) runCommand() *cobra.Command {
	var flags runFlags
	cmd := &cobra.Command{
		Use:   "run CONFIG",
		Short: "Pretrain, prune and quantise with ADMM, retrain and evaluate; go on where it stopped",
		Long: `Does all stages that the config gives epochs to, then evaluates. What it writes is in the folder run.out_dir/run.name.
The same command goes on with an unfinished run and shows the result of a finished one.`,
		Example: `  rapt run configs/quickstart.yaml
  rapt run configs/mnist.yaml --set prune.sparsity_type=filter --set prune.ratio=0.5 --set run.name=mnist-filter`,
		Args: positional("CONFIG"),
		RunE: a.interruptible(func(ctx context.Context, _ *cobra.Command, args []string) error {
			return a.pipeline(ctx, args[0], flags, nil)
		}),
	}
	flags.add(cmd)
	return cmd
}

func (a *app) trainCommand() *cobra.Command {
	var flags runFlags
	var stage string
	cmd := &cobra.Command{
		Use:   "train CONFIG --stage " + strings.Join(stages, "|"),
		Short: "Do one stage of a run",
		Long:  `Does one stage in the run's folder, from what the stage before it left there, and no evaluation.`,
		Example: `  rapt train configs/mnist.yaml --stage pretrain
  rapt train configs/mnist.yaml --stage admm`,
		Args: positional("CONFIG"),
		RunE: a.interruptible(func(ctx context.Context, _ *cobra.Command, args []string) error {
			if !slices.Contains(stages, stage) {
				return usagef("train needs --stage %s%s", strings.Join(stages, " or --stage "), not(stage))
			}
			return a.pipeline(ctx, args[0], flags, []string{stage})
		}),
	}
	cmd.Flags().StringVar(&stage, "stage", "", strings.Join(stages[:len(stages)-1], ", ")+" or "+stages[len(stages)-1])
	flags.add(cmd)
	return cmd
}

func not(value string) string {
	if value == "" {
		return ""
	}
	return fmt.Sprintf(", not %q", value)
}

// pipeline runs the stages of a config; none named is all of them and the evaluation.
func (a *app) pipeline(ctx context.Context, path string, flags runFlags, only []string) error {
	cfg, err := config.Load(path, flags.sets)
	if err != nil {
		return err
	}
	report, err := trainer.Run(ctx, cfg, trainer.RunOptions{
		Console: a.console(), Stages: only, Overwrite: flags.overwrite, Version: version,
	})
	if err != nil {
		return err
	}
	if a.json {
		return a.writeJSON(report)
	}
	a.showRun(report, filepath.Join(cfg.Run.OutDir, cfg.Run.Name), only == nil)
	return nil
}

// showRun prints the closing tables and where the files are.
func (a *app) showRun(report *metrics.Report, folder string, whole bool) {
	fmt.Fprintln(a.out)
	describe(a.out, report)
	metrics.Table(a.out, report)
	if len(report.Sparsity.Layers) > 0 {
		metrics.SparsityTable(a.out, report.Sparsity)
	}
	if report.Quantization != nil {
		metrics.QuantizationTable(a.out, report.Quantization)
	}
	last := ""
	if n := len(report.Stages); n > 0 {
		last = filepath.Join(folder, "checkpoints", report.Stages[n-1].Stage, "best.safetensors")
	}
	if last != "" {
		fmt.Fprintln(a.out, "model: ", last)
	}
	if whole {
		fmt.Fprintln(a.out, "report:", filepath.Join(folder, "report.json"))
	}
	fmt.Fprintln(a.out, "folder:", folder)
}
