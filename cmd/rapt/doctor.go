package main

import (
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
	return &cobra.Command{
		Use:   "doctor [CONFIG]",
		Short: "Show what this machine has and what would make a run fail",
		Long: `Looks at libtorch, GPUs, the BLAS library, processors, data sets and disk. With a config it looks at what that run needs.
Exit code 3 means that something will make a run fail.`,
		Example: `  rapt doctor
  rapt doctor configs/mnist.yaml --json`,
		Args: positional("[CONFIG]"),
		RunE: a.body(func(_ *cobra.Command, args []string) error {
			var cfg *config.Config
			if len(args) == 1 {
				var err error
				if cfg, err = config.Load(args[0], nil); err != nil {
					return err
				}
			}
			return a.doctor(examine(cfg))
		}),
	}
}

func (a *app) doctor(m *machine) error {
	var problems []string
	for _, c := range m.Checks {
		if c.State == stateProblem {
			problems = append(problems, c.Name)
		}
	}
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
