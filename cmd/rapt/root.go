package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// app is one run of the program.
type app struct {
	args     []string
	out, err io.Writer
	json     bool
	started  bool // a command's own work has begun, so what fails now is not cobra's reading of the command line
	signal   caught
}

// root builds the command tree.
func (a *app) root() *cobra.Command {
	cobra.EnableCommandSorting = false // in order of importance
	root := &cobra.Command{
		Use:   "rapt",
		Short: "Train, prune and measure networks that withstand adversarial examples",
		Long: `rapt trains a network naturally or adversarially (PGD, TRADES and others), prunes it with ADMM, retrains it under the mask, and reports
clean accuracy, robust accuracy and sparsity.`,
		Example: `  rapt run configs/quickstart.yaml
  rapt run configs/mnist.yaml --set model.width=8
  rapt eval runs/mnist --attacks pgd-40,pgd-100`,
		Args: noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SetOut(a.err)
			return firstError(cmd.Help(), usagef("a command is needed"))
		},
		Version:           version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.PersistentFlags().BoolVar(&a.json, "json", false, "write one JSON object to standard output and all else to standard error")
	root.SetGlobalNormalizationFunc(normalize)
	root.SetFlagErrorFunc(a.flagError)
	root.AddCommand(a.runCommand(), a.trainCommand(), a.evalCommand(), a.compareCommand(), a.transferCommand(), a.sparsityCommand(), a.compactCommand(), a.exportCommand(), a.reportCommand(), a.predictCommand(), a.planCommand(),
		a.sweepCommand(), a.importCommand(), a.modelsCommand(), a.dataCommand(), a.doctorCommand(), a.versionCommand())
	root.SetHelpCommand(helpCommand())
	root.SetVersionTemplate("rapt {{.Version}}\n") // rapt version says more
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetArgs(append([]string{}, a.args...))
	return root
}

// body is a command's RunE.
func (a *app) body(work func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.started = true
		return work(cmd, args)
	}
}

// normalize lets flags be written with underscores, and the sample limit by the name that robustness benchmarks use.
func normalize(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	name = strings.ReplaceAll(name, "_", "-")
	if name == "n-examples" {
		name = "limit"
	}
	return pflag.NormalizedName(name)
}

// helpCommand is cobra's, except that an unknown topic is an error.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Show what a command does and its flags",
		RunE: func(cmd *cobra.Command, args []string) error {
			target := cmd.Root()
			for _, name := range args {
				next, _, err := target.Find([]string{name})
				if err != nil || next == target {
					return noSuchCommand(target, []string{name})
				}
				target = next
			}
			target.InitDefaultHelpFlag()
			return target.Help()
		},
	}
}

// noSuchCommand is the Args of a command that has commands of its own: it takes no argument.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	hint := ""
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "; did you mean " + strings.Join(near, " or ") + "?"
	}
	name := strings.TrimPrefix(cmd.CommandPath()+" "+args[0], "rapt ")
	return usagef("there is no command %q%s (%s --help lists them)", name, hint, cmd.CommandPath())
}

// positional demands the named arguments, as they stand in a command's Use line; "[NAME]" may be left out.
func positional(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > len(names) {
			return usagef("%s does not take the argument %q (%s --help shows what it takes)", cmd.Name(), args[len(names)], cmd.CommandPath())
		}
		for i, name := range names {
			if i < len(args) && args[i] == "" {
				return usagef("the %s given to %s is empty", strings.Trim(name, "[]"), cmd.Name())
			}
			if i >= len(args) && !strings.HasPrefix(name, "[") {
				return usagef("%s needs a %s (%s --help shows examples)", cmd.Name(), name, cmd.CommandPath())
			}
		}
		return nil
	}
}

// usageError is a command line that asks for nothing that can be done.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }
