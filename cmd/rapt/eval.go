package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"rapt/trainer"
	"rapt/trainer/config"
	"rapt/trainer/metrics"
)

// evalFlags are eval's own; where they are left out, what the checkpoint was trained with holds.
type evalFlags struct {
	attacks           []string
	epsilon, stepSize number
	seed              uint64
	failUnder         number
	at                where
}

func (a *app) evalCommand() *cobra.Command {
	var flags evalFlags
	cmd := &cobra.Command{
		Use:   "eval RUN|CHECKPOINT",
		Short: "Measure clean accuracy, robust accuracy and sparsity on the test set",
		Long: `Measures a checkpoint, or the final model of a run, on the test set. What is not asked for otherwise is as it was trained.
With several attacks the worst case counts an image only if it is right under each of them.`,
		Example: `  rapt eval runs/mnist
  rapt eval runs/mnist --attacks pgd-40,pgd-100 --epsilon 0.3 --step-size 0.01
  rapt eval model.safetensors --limit 1000 --fail-under 0.86`,
		Args: positional("RUN or CHECKPOINT"),
		RunE: a.interruptible(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			if err := flags.check(cmd); err != nil {
				return err
			}
			report, err := evaluate(ctx, flags.options(args[0], a.console()))
			if err != nil {
				return err
			}
			if err := a.showEvaluation(report); err != nil {
				return err
			}
			return flags.verdict(cmd, report)
		}),
	}
	f := cmd.Flags()
	f.StringSliceVar(&flags.attacks, "attacks", nil, "attacks, by comma: pgd-N is N steps (default: the run's own)")
	f.Var(&flags.epsilon, "epsilon", "radius of the attacks, such as 0.3 or 8/255 (default: the run's own)")
	f.Var(&flags.stepSize, "step-size", "step of the attacks, such as 0.01 or 2/255 (default: the run's own)")
	f.Uint64Var(&flags.seed, "seed", 0, "seed of the random starts (default: the run's own)")
	f.Var(&flags.failUnder, "fail-under", "exit 3 where the robust accuracy, in the worst case, is below this fraction")
	flags.at.add(f)
	return cmd
}

func (f *evalFlags) check(cmd *cobra.Command) error {
	for _, attack := range f.attacks {
		if _, err := config.ParseAttack(attack); err != nil {
			return usagef("--attacks: %v", err)
		}
	}
	// Zero is how the options say that a flag was left out, so one that was given must not be zero.
	return firstError(
		given(cmd, "attacks", len(f.attacks) == 0, "at least one, such as pgd-40,"),
		given(cmd, "epsilon", f.epsilon <= 0, "a number above 0, such as 8/255,"),
		given(cmd, "step-size", f.stepSize <= 0, "a number above 0, such as 2/255,"),
		given(cmd, "seed", f.seed == 0, "1 or more"),
		given(cmd, "fail-under", f.failUnder <= 0 || f.failUnder > 1, "a fraction up to 1, such as 0.86,"),
		f.at.check(cmd),
	)
}

func (f *evalFlags) options(path string, console trainer.Console) trainer.EvalOptions {
	return trainer.EvalOptions{
		Path: path, Attacks: f.attacks, Epsilon: float64(f.epsilon), StepSize: float64(f.stepSize), Limit: f.at.limit,
		BatchSize: f.at.batchSize, DataDir: f.at.dataDir, Device: f.at.device, Workers: f.at.workers, Seed: f.seed,
		Console: console, Version: version,
	}
}

// evaluate adds to the trainer's report the settings that the attacks ran with.
func evaluate(ctx context.Context, o trainer.EvalOptions) (*metrics.Report, error) {
	attacks, err := trainer.Attacks(o)
	if err != nil {
		return nil, err
	}
	report, err := trainer.Evaluate(ctx, o)
	if err != nil {
		return nil, err
	}
	report.Attacks = nil
	for _, p := range attacks {
		report.Attacks = append(report.Attacks, metrics.Attack{
			Name: p.Name(), Norm: p.Norm.String(), Epsilon: p.Epsilon, StepSize: p.StepSize, Steps: p.Steps, RandomStart: p.RandomStart,
		})
	}
	return report, nil
}

// verdict is --fail-under's.
func (f *evalFlags) verdict(cmd *cobra.Command, r *metrics.Report) error {
	if !cmd.Flags().Changed("fail-under") {
		return nil
	}
	if r.WorstCaseAccuracy == nil {
		return &unprovedError{"--fail-under: no attack was run, so there is no robust accuracy to compare"}
	}
	// Written so that a NaN fails.
	if got, want := *r.WorstCaseAccuracy, float64(f.failUnder); !(got >= want) {
		return &unprovedError{fmt.Sprintf("the robust accuracy is %s, below --fail-under %s", percent(got), percent(want))}
	}
	return nil
}

func (a *app) showEvaluation(r *metrics.Report) error {
	if a.json {
		return a.writeJSON(r)
	}
	describe(a.out, r)
	for _, attack := range r.Attacks {
		start := "no random start"
		if attack.RandomStart {
			start = "random start"
		}
		fmt.Fprintf(a.out, "%s: %s, epsilon %s, step size %s, %d steps, %s\n",
			attack.Name, attack.Norm, fraction(attack.Epsilon), fraction(attack.StepSize), attack.Steps, start)
	}
	if r.CleanAccuracy != nil {
		fmt.Fprintf(a.out, "%-12s %s\n", "clean", percent(*r.CleanAccuracy))
	}
	for _, name := range slices.Sorted(maps.Keys(r.RobustAccuracy)) {
		fmt.Fprintf(a.out, "%-12s %s\n", name, percent(r.RobustAccuracy[name]))
	}
	if r.WorstCaseAccuracy != nil {
		fmt.Fprintf(a.out, "%-12s %s\n", "worst case", percent(*r.WorstCaseAccuracy))
	}
	a.showSparsity(r)
	return nil
}
