package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"rapt/trainer/checkpoint"
	"rapt/trainer/metrics/page"
)

func (a *app) reportCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "report RUN [RUN ...]",
		Short: "Write runs as one HTML page: tables, curves, layers and settings",
		Long: `Writes one HTML file that needs no network and nothing beside it: the accuracies and what is pruned, of all stages and baselines of the runs; accuracy by what is
pruned; the curves of training and of ADMM's residuals; the layers; settings and machine. A run that has not ended is shown as far as it is.`,
		Example: `  rapt report runs/mnist
  rapt report runs/lenet-* --out lenets.html`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("report needs the folder of a RUN, or of several (%s --help shows examples)", cmd.CommandPath())
			}
			return nil
		},
		RunE: a.body(func(_ *cobra.Command, args []string) error { return a.writeReport(args, out) }),
	}
	cmd.Flags().StringVar(&out, "out", "", "the file to write (default report.html in the folder of a single RUN)")
	return cmd
}

func (a *app) writeReport(folders []string, out string) error {
	if out == "" && len(folders) == 1 {
		out = filepath.Join(folders[0], "report.html")
	}
	var runs []*page.Run
	for _, folder := range folders {
		r, err := page.Read(folder)
		if err != nil {
			return usagef("%v", err)
		}
		runs = append(runs, r)
	}
	if err := checkOut("report", "several runs", &out); err != nil {
		return err
	}
	if err := checkpoint.WriteAtomic(out, func(w io.Writer) error { return page.Write(w, runs, version) }); err != nil {
		return err
	}
	if a.json {
		return a.writeJSON(map[string]any{"out": out, "runs": folders})
	}
	fmt.Fprintln(a.out, out)
	return nil
}
