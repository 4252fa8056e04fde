package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"rapt/trainer"
	"rapt/trainer/metrics"
)

func (a *app) compareCommand() *cobra.Command {
	var flags attackFlags
	cmd := &cobra.Command{
		Use:   "compare A B",
		Short: "Judge two models on the same images, and test whether they differ",
		Long: `Judges two runs or checkpoints by the same attacks on the same test images, those of A's run where no other are asked for. McNemar's exact test
on the images that only one of them gets right says how likely such a difference is between models that are equally good.`,
		Example: `  rapt compare runs/dense runs/pruned
  rapt compare runs/dense runs/pruned --attacks pgd-40,apgd-ce --limit 1000`,
		Args: positional("A", "B"),
		RunE: a.interruptible(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			if err := flags.check(cmd); err != nil {
				return err
			}
			c, err := trainer.Compare(ctx, args[0], args[1], flags.options("", a.console()))
			if err != nil {
				return err
			}
			if a.json {
				return a.writeJSON(c)
			}
			for i, r := range []*metrics.Report{c.A, c.B} {
				fmt.Fprintf(a.out, "%c, %s\n", 'A'+i, args[i])
				describe(a.out, r, "   ")
			}
			a.showAttacks(c.A.Attacks)
			fmt.Fprintf(a.out, "%d images\n", c.A.Evaluation.Images)
			metrics.ComparisonTable(a.out, c)
			return nil
		}),
	}
	flags.add(cmd.Flags())
	return cmd
}

func (a *app) transferCommand() *cobra.Command {
	var flags attackFlags
	cmd := &cobra.Command{
		Use:   "transfer MODEL MODEL...",
		Short: "Test each model on adversarial images crafted on each",
		Long: `Crafts adversarial images of the test set on each of the runs or checkpoints, by the attacks of the first one's run where no other are asked for,
and tests every model on them. pgd-N takes all its steps here, also past the first mistake.`,
		Example: `  rapt transfer runs/w4 runs/w8 runs/w16
  rapt transfer runs/dense runs/pruned --attacks pgd-40 --limit 1000`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usagef("transfer needs two or more runs or checkpoints (%s --help shows examples)", cmd.CommandPath())
			}
			return nil
		},
		RunE: a.interruptible(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			if err := flags.check(cmd); err != nil {
				return err
			}
			t, err := trainer.Transfer(ctx, args, flags.options("", a.console()))
			if err != nil {
				return err
			}
			if a.json {
				return a.writeJSON(t)
			}
			for i, m := range t.Models {
				fmt.Fprintf(a.out, "%d: %s, %s (width %d)\n", i+1, args[i], m.Arch, m.Width)
			}
			a.showAttacks(t.Attacks)
			fmt.Fprintf(a.out, "%d images\n", t.Images)
			metrics.TransferTable(a.out, t)
			return nil
		}),
	}
	flags.add(cmd.Flags())
	return cmd
}
