package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"rapt/trainer"
	"rapt/trainer/config"
	"rapt/trainer/metrics"
)

var stages = []string{"pretrain", "admm", "retrain", "compact", "quantize_admm_1", "quantize_retrain_1", "quantize_admm", "quantize_retrain"}

// runFlags are those of run and train.
type runFlags struct {
	sets      []string
	overwrite bool
	index     int  // of a sweep's point; negative: not given
	requeue   bool // have Slurm start the job again where its time is up
	metrics   string
}

func (f *runFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.sets, "set", nil, "override a key of the config: section.key=value (may be repeated)")
	cmd.Flags().BoolVar(&f.overwrite, "overwrite", false, "begin anew where the run's folder holds a run")
	cmd.Flags().StringVar(&f.metrics, "metrics-addr", "", "serve Prometheus metrics there: 9464 or :9464 is for this machine alone, 0.0.0.0:9464 for all (default: not)")
	f.index = -1
}

// addJob adds the flags of a job that a scheduler runs.
func (f *runFlags) addJob(cmd *cobra.Command) {
	cmd.Flags().Var((*arrayIndex)(&f.index), "array-index", "which point of a sweep (default: $SLURM_ARRAY_TASK_ID or $JOB_COMPLETION_INDEX)")
	cmd.Flags().BoolVar(&f.requeue, "requeue", false, "on SIGUSR1, which Slurm sends before the time is up, save and have Slurm requeue the job")
}

// arrayIndex is a flag that takes a whole number from 0 on.
type arrayIndex int

func (i *arrayIndex) Set(text string) error {
	v, err := strconv.Atoi(text)
	if err != nil || v < 0 {
		return fmt.Errorf("a whole number from 0 on is needed")
	}
	*i = arrayIndex(v)
	return nil
}

func (i *arrayIndex) String() string { return "" }
func (i *arrayIndex) Type() string   { return "index" }

func (a *app) runCommand() *cobra.Command {
	var flags runFlags
	cmd := &cobra.Command{
		Use:   "run CONFIG",
		Short: "Pretrain, prune and quantise with ADMM, retrain and evaluate; go on where it stopped",
		Long: `Does all stages that the config gives epochs to, then evaluates. What it writes is in the folder run.out_dir/run.name.
The same command goes on with an unfinished run and shows the result of a finished one. CONFIG may be a sweep (see rapt sweep --help).`,
		Example: `  rapt run configs/quickstart.yaml
  rapt run configs/mnist.yaml --set prune.sparsity_type=filter --set prune.ratio=0.5 --set run.name=mnist-filter`,
		Args: positional("CONFIG"),
		RunE: a.interruptible(func(ctx context.Context, _ *cobra.Command, args []string) error {
			a.signal.requeue.Store(flags.requeue)
			return a.pipeline(ctx, args[0], flags, nil)
		}),
	}
	flags.add(cmd)
	flags.addJob(cmd)
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
	cfg, err := flags.load(path)
	if err != nil {
		return err
	}
	if grace, err := cfg.Run.Grace.Time(); err == nil {
		a.signal.grace.Store(int64(grace))
	}
	options := trainer.RunOptions{Console: a.console(), Stages: only, Overwrite: flags.overwrite, Version: version}
	var report *metrics.Report
	err = a.exporting(cfg, flags.metrics, &options, func() error {
		report, err = trainer.Run(ctx, cfg, options)
		return err
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

// exporting serves the run's metrics to Prometheus while work goes on, where an address says so.
func (a *app) exporting(cfg *config.Config, address string, options *trainer.RunOptions, work func() error) error {
	if address == "" {
		return work()
	}
	e, err := metrics.Serve(address, metrics.ExportOptions{Run: cfg.Run.Name, Version: version, Folder: filepath.Join(cfg.Run.OutDir, cfg.Run.Name)})
	if err != nil {
		return usagef("--metrics-addr: %v", err)
	}
	defer e.Close()
	fmt.Fprintln(a.err, "rapt: metrics are served at", e.URL())
	options.Observer = e
	return work()
}

// showRun prints the closing tables and where the files are.
func (a *app) showRun(report *metrics.Report, folder string, whole bool) {
	fmt.Fprintln(a.out)
	describe(a.out, report, "")
	metrics.Table(a.out, report)
	metrics.ReductionLines(a.out, report)
	metrics.DoubtLines(a.out, report)
	metrics.ADMMTable(a.out, report)
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
