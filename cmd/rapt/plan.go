package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"rapt/trainer"
	"rapt/trainer/config"
	"rapt/trainer/metrics"
)

func (a *app) planCommand() *cobra.Command {
	var sets []string
	var out string
	var still bool
	cmd := &cobra.Command{
		Use:   "plan CONFIG",
		Short: "Show what a run would prune, its sizes, its memory and its time; train nothing",
		Long: `Shows, before anything is trained, what each layer's ratio removes, parameters and multiply-accumulates before and after, which layers
get smaller and which only sparse, sizes in bytes, and estimates of memory and time. A few training steps are taken for the time alone.`,
		Example: `  rapt plan configs/mnist.yaml
  rapt plan configs/mnist.yaml --set prune.ratio=0 --set prune.budget='{keep: 0.05, method: erk}' --strategy-out erk.yaml
  rapt plan configs/mnist.yaml --no-measure --json`,
		Args: positional("CONFIG"),
		RunE: a.interruptible(func(ctx context.Context, _ *cobra.Command, args []string) error {
			if out != "" {
				if err := checkFile("strategy-out", &out); err != nil {
					return err
				}
			}
			cfg, err := config.Load(args[0], sets)
			if err != nil {
				return err
			}
			plan, err := trainer.Plan(ctx, cfg, trainer.PlanOptions{Measure: !still, StrategyOut: out, Described: func(plan *metrics.Plan) {
				if !a.json {
					a.showPlan(plan)
				}
				if !still {
					fmt.Fprintln(a.err, "taking training steps to estimate the time; --no-measure leaves them out")
				}
			}})
			if err != nil {
				return err
			}
			if a.json {
				return a.writeJSON(plan)
			}
			metrics.PlanTimes(a.out, plan)
			return nil
		}),
	}
	cmd.Flags().StringArrayVar(&sets, "set", nil, "override a key of the config: section.key=value (may be repeated)")
	cmd.Flags().StringVar(&out, "strategy-out", "", "write each layer's ratio to this file, for prune.strategy")
	cmd.Flags().BoolVar(&still, "no-measure", false, "take no training steps, and estimate no time")
	return cmd
}

func (a *app) showPlan(p *metrics.Plan) {
	fmt.Fprintf(a.out, "%s: %s (width %d%s) on %s, training method %s, %s\n", p.Name, p.Arch, p.Width, compacted(p.Channels), p.Dataset, p.Method, p.Type)
	if b := p.Budget; b != nil {
		fmt.Fprintf(a.out, "budget: %s %g, %s; these ratios keep %s\n", b.Of, b.Wanted, b.Method, percent(b.Reached))
	}
	if p.Note != "" {
		fmt.Fprintln(a.out, "note:", p.Note)
	}
	metrics.PlanTable(a.out, p)
}
