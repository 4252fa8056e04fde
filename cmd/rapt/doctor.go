package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"rapt/trainer/config"
)

// How a check came out.
const (
	stateOK      = "ok"
	stateWarning = "warning" // a run works, but perhaps not as wished
	stateProblem = "problem" // a run will fail
)

// check is a line of the doctor's.
type check struct {
	Name   string `json:"name"`
	State  string `json:"state"`
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"` // what to do, where it is not ok
}

func (a *app) doctorCommand() *cobra.Command {
	var sets []string
	var find bool
	var limit int
	cmd := &cobra.Command{
		Use:   "doctor [CONFIG]",
		Short: "Show what this machine has and what would make a run fail",
		Long: `Looks at libtorch, GPUs and their driver, the BLAS library, processors, memory, data sets with their checksums, disk, scheduler and clock.
64 MB are written to the disk, and removed. With a config it looks at what that run needs. Exit code 3 means that something will make a run fail.

With --find-batch it does nothing of that, but takes training steps of the config's first stage, on images that it draws, in
batches of the config's size (32 where it gives none) and twice as many each time, for as long as the memory lasts; where the
first does not fit, half as many each time until one does.`,
		Example: `  rapt doctor
  rapt doctor configs/mnist.yaml --json
  rapt doctor --find-batch configs/mnist.yaml`,
		Args: positional("[CONFIG]"),
		RunE: a.interruptible(func(ctx context.Context, cmd *cobra.Command, args []string) error {
			if find && len(args) == 0 {
				return usagef("--find-batch needs a CONFIG, whose training steps it takes")
			}
			if err := given(cmd, "batch-limit", limit < 1, "at least 1"); err != nil {
				return err
			}
			var cfg *config.Config
			if len(args) == 1 {
				var err error
				if cfg, err = config.Load(args[0], sets); err != nil {
					return err
				}
			}
			if find {
				return a.findBatch(ctx, cfg, limit)
			}
			m, err := examine(ctx, cfg)
			if err != nil {
				return err
			}
			return a.doctor(m)
		}),
	}
	cmd.Flags().StringArrayVar(&sets, "set", nil, "override a key of the config: section.key=value (may be repeated)")
	cmd.Flags().BoolVar(&find, "find-batch", false, "find the largest batch that fits, and the smallest that is fast")
	cmd.Flags().IntVar(&limit, "batch-limit", 0, "with --find-batch: the largest batch to try (default 8192, on a GPU 65536)")
	return cmd
}

func (a *app) doctor(m *machine) error {
	problems := m.problems()
	m.OK = len(problems) == 0
	show := func() error { return a.writeJSON(m) }
	if !a.json {
		show = func() error { return a.showChecks(m.Checks) }
	}
	if err := show(); err != nil {
		return err
	}
	if !m.OK {
		return &unprovedError{"a run will fail because of: " + strings.Join(problems, ", ")}
	}
	return nil
}

func (a *app) showChecks(checks []check) error {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, c := range checks {
		fmt.Fprintf(w, "%s\t%s\t%s\n", c.State, c.Name, c.Detail)
		if c.Remedy != "" {
			fmt.Fprintf(w, "\t\t-> %s\n", c.Remedy)
		}
	}
	return w.Flush()
}
