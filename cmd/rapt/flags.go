package main

import (
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"rapt/trainer/config"
)

// number is a flag that takes what a config takes: 0.3, 1e-4 or 8/255. Unset it is 0.
type number float64

func (n *number) Set(text string) error {
	value, err := config.ParseNumber(text)
	*n = number(value)
	return err
}

func (n *number) String() string { return strconv.FormatFloat(float64(*n), 'g', -1, 64) }
func (n *number) Type() string   { return "number" }

var goNumberError = regexp.MustCompile(`strconv\.Parse(\w+): parsing .*$`)

// flagError turns pflag's error into a sentence with the nearest flag there is.
func (a *app) flagError(cmd *cobra.Command, err error) error {
	if !cmd.HasParent() {
		// A mistyped command leaves its flags to the root command, which has none of them: the command is what is wrong.
		for _, arg := range a.args {
			if !strings.HasPrefix(arg, "-") {
				return noSuchCommand(cmd, []string{arg})
			}
		}
	}
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "unknown flag: --"); ok {
		return usagef("%s has no flag --%s%s (%s --help lists them)", cmd.Name(), name, nearestFlag(cmd, name), cmd.CommandPath())
	}
	if match := goNumberError.FindStringSubmatch(text); match != nil {
		want := "a whole number is needed"
		switch match[1] {
		case "Bool":
			want = "true or false is needed"
		case "Uint":
			want = "a whole number that is not negative is needed"
		}
		text = strings.TrimSuffix(text, match[0]) + want
	}
	return usagef("%s (%s --help lists the flags)", text, cmd.CommandPath())
}

func nearestFlag(cmd *cobra.Command, name string) string {
	name = string(normalize(nil, name))
	best, nearest := math.MaxInt, ""
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if d := levenshtein.ComputeDistance(name, f.Name); d < best && !f.Hidden {
			best, nearest = d, f.Name
		}
	})
	if best > 1+len(name)/4 {
		return ""
	}
	return "; did you mean --" + nearest + "?"
}

// given refuses a value of a flag that was given; one left out says nothing about it.
func given(cmd *cobra.Command, flag string, bad bool, want string) error {
	if f := cmd.Flags().Lookup(flag); bad && f.Changed {
		return usagef("--%s is %s, and %s is needed", flag, f.Value, want)
	}
	return nil
}

// firstError is for a list of checks.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// where are the flags of commands that run a trained model.
type where struct {
	limit, batchSize, workers int
	dataDir, device           string
}

func (w *where) add(f *pflag.FlagSet) {
	f.IntVar(&w.limit, "limit", 0, "only the first so many test images; also --n-examples (default: as many as the run was tested on)")
	f.IntVar(&w.batchSize, "batch-size", 0, "images at a time (default 100)")
	f.StringVar(&w.dataDir, "data-dir", "", "folder of the data sets (default: the run's own)")
	f.StringVar(&w.device, "device", "", "auto, cpu, cuda or cuda:N (default auto)")
	f.IntVar(&w.workers, "workers", 0, "CPU threads (default: one a core)")
}

func (w *where) check(cmd *cobra.Command) error {
	return firstError(
		given(cmd, "limit", w.limit < 1, "at least 1"),
		given(cmd, "batch-size", w.batchSize < 1, "at least 1"),
		given(cmd, "workers", w.workers < 1, "at least 1"),
	)
}
