package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"rapt/trainer"
	"rapt/trainer/config"
	"rapt/trainer/metrics"
)

// attackFlags say what a model is judged by; where they are left out, what the checkpoint was trained with holds.
type attackFlags struct {
	attacks           []string
	norm              string
	epsilon, stepSize number
	restarts          int
	seed              uint64
	at                where
}

func (f *attackFlags) add(flags *pflag.FlagSet) {
	flags.StringSliceVar(&f.attacks, "attacks", nil, "attacks, by comma, such as pgd-40, apgd-ce or autoattack (default: the run's own)")
	flags.StringVar(&f.norm, "norm", "", "Linf, L2 or L1; one that is not the run's own needs --epsilon beside it (default: the run's own)")
	flags.Var(&f.epsilon, "epsilon", "radius of the attacks, such as 0.3 or 8/255 (default: the run's own)")
	flags.Var(&f.stepSize, "step-size", "step of pgd and mim, such as 0.01 or 2/255 (default: the run's own for the attacks that it was tested with, else 2.5 epsilon / steps)")
	flags.IntVar(&f.restarts, "restarts", 1, "starts of each attack that draws random numbers; an image must stand all of them")
	flags.Uint64Var(&f.seed, "seed", 0, "seed of the attacks' random numbers (default: the run's own)")
	f.at.add(flags)
	flags.Lookup("device").Usage = "auto, cpu, cuda or cuda:N; several GPUs, such as cuda:0,cuda:1, share the images (default auto)"
	flags.Lookup("batch-size").Usage = "images at a time on a GPU (default 1000)"
}

func (f *attackFlags) check(cmd *cobra.Command) error {
	for _, attack := range f.attacks {
		if _, err := config.ParseAttack(attack); err != nil {
			return usagef("--attacks: %v", err)
		}
	}
	// Zero is how the options say that a flag was left out, so one that was given must not be zero.
	return firstError(
		given(cmd, "norm", !slices.Contains([]string{"Linf", "L2", "L1"}, f.norm), "Linf, L2 or L1"),
		given(cmd, "attacks", len(f.attacks) == 0, "at least one, such as pgd-40,"),
		given(cmd, "epsilon", f.epsilon <= 0, "a number above 0, such as 8/255,"),
		given(cmd, "step-size", f.stepSize <= 0, "a number above 0, such as 2/255,"),
		given(cmd, "restarts", f.restarts < 1, "at least 1"),
		given(cmd, "seed", f.seed == 0, "1 or more"),
		f.at.check(cmd),
	)
}

func (f *attackFlags) options(path string, console trainer.Console) trainer.EvalOptions {
	return trainer.EvalOptions{
		Path: path, Attacks: f.attacks, Norm: f.norm, Epsilon: float64(f.epsilon), StepSize: float64(f.stepSize), Restarts: f.restarts, Limit: f.at.limit,
		BatchSize: f.at.batchSize, DataDir: f.at.dataDir, Device: f.at.device, Workers: f.at.workers, Seed: f.seed,
		Console: console, Version: version,
	}
}

// evalFlags are eval's own.
type evalFlags struct {
	attackFlags
	failUnder number
	epsilons  []string
	suspicion bool
	state     string
	source    string
	files     trainer.EvalFiles
}

func (a *app) evalCommand() *cobra.Command {
	var flags evalFlags
	cmd := &cobra.Command{
		Use:   "eval RUN|CHECKPOINT",
		Short: "Measure clean accuracy, robust accuracy and sparsity on the test set",
		Long: `Measures a checkpoint, or the final model of a run, on the test set. What is not asked for otherwise is as it was trained.
With several attacks the worst case counts an image only if it is right under each of them. An evaluation that is interrupted or killed
goes on with the same command.`,
		Example: `  rapt eval runs/mnist
  rapt eval runs/mnist --attacks pgd-40,pgd-100 --epsilon 0.3 --step-size 0.01
  rapt eval runs/mnist --attacks autoattack --csv samples.csv --grid broken.png
  rapt eval runs/mnist --attacks apgd-ce --epsilons 0,0.1,0.2,0.3,0.4 --curve curve.csv
  rapt eval runs/small --source runs/large --attacks pgd-40
  rapt eval model.safetensors --limit 1000 --fail-under 0.86`,
		Args: positional("RUN or CHECKPOINT"),
		RunE: a.interruptible(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			if err := flags.check(cmd); err != nil {
				return err
			}
			o, err := flags.all(cmd, args[0], a.console())
			if err != nil {
				return err
			}
			judge := trainer.Evaluate
			if flags.source != "" {
				judge = func(ctx context.Context, o trainer.EvalOptions) (*metrics.Report, error) {
					return trainer.EvaluateFrom(ctx, flags.source, o)
				}
			}
			report, err := judge(ctx, o)
			if err != nil {
				return err
			}
			if err := a.showEvaluation(report); err != nil {
				return err
			}
			return flags.verdict(cmd, report)
		}),
	}
	flags.add(cmd.Flags())
	return cmd
}

func (f *evalFlags) add(flags *pflag.FlagSet) {
	f.attackFlags.add(flags)
	flags.Var(&f.failUnder, "fail-under", "exit 3 where the robust accuracy, in the worst case, is below this fraction")
	flags.StringSliceVar(&f.epsilons, "epsilons", nil, "radii, rising, such as 0,2/255,4/255: the first attack's accuracy at each")
	flags.BoolVar(&f.suspicion, "suspicion", false, "look for signs that the attacks failed where the network is not robust (default: with autoattack)")
	flags.StringVar(&f.state, "state", "", "file to save the work in while it is under way (default: in the run's eval folder, or beside the checkpoint)")
	flags.StringVar(&f.source, "source", "", "RUN or CHECKPOINT that the adversarial images are crafted on instead: a transfer attack")
	flags.StringVar(&f.files.CSV, "csv", "", "write a line for each image to this file")
	flags.StringVar(&f.files.Curve, "curve", "", "write the accuracies of --epsilons to this CSV file")
	flags.StringVar(&f.files.Images, "save-images", "", "write the adversarial images to this safetensors file")
	flags.StringVar(&f.files.Grid, "grid", "", "draw the first broken images to this PNG file: original, change, adversarial")
}

func (f *evalFlags) check(cmd *cobra.Command) error {
	if err := firstError(f.attackFlags.check(cmd), given(cmd, "fail-under", f.failUnder <= 0 || f.failUnder > 1, "a fraction up to 1, such as 0.86,"),
		given(cmd, "curve", len(f.epsilons) == 0, "--epsilons beside it")); err != nil {
		return err
	}
	for flag, path := range map[string]*string{"csv": &f.files.CSV, "curve": &f.files.Curve, "save-images": &f.files.Images, "grid": &f.files.Grid, "state": &f.state} {
		if !cmd.Flags().Changed(flag) {
			continue
		}
		if err := checkFile(flag, path); err != nil {
			return err
		}
	}
	for _, flag := range []string{"epsilons", "suspicion", "state", "csv", "save-images", "grid"} {
		if f.source != "" && cmd.Flags().Changed(flag) {
			return usagef("--%s is not for --source: a transfer's images are crafted on another model", flag)
		}
	}
	return nil
}

// all are the options with what is eval's alone.
func (f *evalFlags) all(cmd *cobra.Command, path string, console trainer.Console) (trainer.EvalOptions, error) {
	o := f.options(path, console)
	o.Files, o.State = f.files, f.state
	if cmd.Flags().Changed("suspicion") {
		o.Suspicion = &f.suspicion
	}
	for _, text := range f.epsilons {
		epsilon, err := config.ParseNumber(text)
		if err != nil || epsilon < 0 {
			return o, usagef("--epsilons holds %q, and radii such as 0,2/255,4/255 are needed", text)
		}
		o.Epsilons = append(o.Epsilons, float64(epsilon))
	}
	return o, nil
}

// verdict is --fail-under's.
func (f *evalFlags) verdict(cmd *cobra.Command, r *metrics.Report) error {
	if !cmd.Flags().Changed("fail-under") {
		return nil
	}
	if r.WorstCaseAccuracy == nil || len(r.RobustAccuracy) == 0 {
		return &unprovedError{"--fail-under: no attack was run, so there is no robust accuracy to compare"}
	}
	// Written so that a NaN fails.
	if got, want := *r.WorstCaseAccuracy, float64(f.failUnder); !(got >= want) {
		return &unprovedError{"the robust accuracy is " + percent(got) + ", below --fail-under " + percent(want)}
	}
	return nil
}
