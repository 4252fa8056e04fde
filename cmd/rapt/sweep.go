package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"rapt/trainer/config"
	"rapt/trainer/metrics"
)

// load reads a config, or the point of a sweep that --array-index or the scheduler names.
func (f *runFlags) load(path string) (*config.Config, error) {
	if !config.IsSweep(path) {
		if f.index >= 0 {
			return nil, usagef("--array-index is %d, but %s is no sweep: it has no grid", f.index, path)
		}
		return config.Load(path, f.sets)
	}
	sweep, err := config.LoadSweep(path)
	if err != nil {
		return nil, err
	}
	index := f.index
	if index < 0 {
		if index, err = scheduledIndex(os.Getenv); err != nil {
			return nil, err
		}
	}
	if index < 0 {
		return nil, usagef("%s is a sweep of %d points: --array-index 0 to %d says which (rapt sweep %s lists them)", path, sweep.N(), sweep.N()-1, path)
	}
	return sweep.Load(index, f.sets)
}

// scheduledIndex is a job array's or an indexed Job's index, -1 where there is none.
func scheduledIndex(env func(string) string) (int, error) {
	for _, name := range []string{"SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX"} {
		text := env(name)
		if text == "" {
			continue
		}
		index, err := strconv.Atoi(text)
		if err != nil || index < 0 {
			return 0, usagef("%s is %q: a whole number from 0 on is needed", name, text)
		}
		return index, nil
	}
	return -1, nil
}

func (a *app) sweepCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "sweep SWEEP",
		Short: "List the points of a sweep, how far each is and what came out",
		Long: `A sweep's file names a config and a grid of values for some of its keys; its points are all combinations. Each is a run of its own,
rapt run SWEEP --array-index N, in the folder run.out_dir/SWEEP/POINT. Of those that are done the accuracies on the test images, clean and under each attack, and
the share that is pruned are shown, from their report.json, and which of them have a robust accuracy that may be too high. Where the grid has several values of
run.seed, the mean and the standard deviation over them follow.`,
		Example: `  rapt sweep deploy/sweep.yaml
  sbatch --array=0-$(($(rapt sweep deploy/sweep.yaml --json | jq .points) - 1)) deploy/slurm/sweep.sbatch deploy/sweep.yaml`,
		Args: positional("SWEEP"),
		RunE: a.body(func(_ *cobra.Command, args []string) error { return a.listSweep(args[0]) }),
	}
}

// sweepPoint is a point in --json. State is new, unfinished or done; what follows it is of those that are done.
type sweepPoint struct {
	config.Point
	Folder string `json:"folder"`
	State  string `json:"state"`

	CleanAccuracy  *float64           `json:"clean_accuracy,omitempty"`
	RobustAccuracy map[string]float64 `json:"robust_accuracy,omitempty"`
	Sparsity       *float64           `json:"sparsity,omitempty"`
	Doubts         []metrics.Check    `json:"doubts,omitempty"` // why the robust accuracy may be too high
}

// result takes what came out from the run's report.
func (p *sweepPoint) result() error {
	var r metrics.Report
	path := filepath.Join(p.Folder, "report.json")
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		return fmt.Errorf("%s cannot be read, so its results are not shown: %w", path, err)
	}
	if r.CleanAccuracy != nil {
		p.CleanAccuracy, p.RobustAccuracy, p.Sparsity = r.CleanAccuracy, r.RobustAccuracy, &r.Sparsity.Sparsity
		p.Doubts = r.Doubts()
	}
	return nil
}

// cells are the result as a table has it: clean, each attack, pruned.
func (p *sweepPoint) cells(attacks []string) (out []string) {
	if p.CleanAccuracy == nil {
		return make([]string, len(attacks)+2)
	}
	out = append(out, metrics.Percent(*p.CleanAccuracy))
	for _, a := range attacks {
		if v, ok := p.RobustAccuracy[a]; ok {
			out = append(out, metrics.Percent(v))
		} else {
			out = append(out, "")
		}
	}
	return append(out, metrics.Percent(*p.Sparsity))
}

func (a *app) listSweep(path string) error {
	sweep, err := config.LoadSweep(path)
	if err != nil {
		return err
	}
	rows := []sweepPoint{}
	for i := range sweep.N() {
		point, err := sweep.Point(i)
		if err != nil {
			return err
		}
		cfg, err := sweep.Load(i, nil)
		if err != nil {
			return err
		}
		row := sweepPoint{Point: point, Folder: filepath.Join(cfg.Run.OutDir, cfg.Run.Name), State: "new"}
		for file, state := range map[string]string{"DONE": "done", "config.yaml": "unfinished"} {
			if _, err := os.Stat(filepath.Join(row.Folder, file)); err == nil && row.State != "done" {
				row.State = state
			}
		}
		if row.State == "done" {
			if err := row.result(); err != nil {
				fmt.Fprintln(a.err, "note:", err)
			}
		}
		rows = append(rows, row)
	}
	if a.json {
		out := map[string]any{"sweep": path, "config": sweep.Config, "points": len(rows), "runs": rows}
		if settings := bySeeds(rows); settings != nil {
			out["over_seeds"] = settings
		}
		return a.writeJSON(out)
	}
	if err := showPoints(a.out, rows); err != nil {
		return err
	}
	return showSeeds(a.out, bySeeds(rows))
}

// showPoints is a line for each point, and one for each whose robust accuracy is in doubt.
func showPoints(w io.Writer, points []sweepPoint) error {
	attacks := attacksOf(points, func(p sweepPoint) map[string]float64 { return p.RobustAccuracy })
	rows := [][]string{slices.Concat([]string{"point", "state", "values"}, accuracyHeader(attacks), []string{"folder"})}
	for _, p := range points {
		rows = append(rows, slices.Concat([]string{strconv.Itoa(p.Index), p.State, strings.Join(p.Sets, " ")}, p.cells(attacks), []string{p.Folder}))
	}
	if err := aligned(w, rows); err != nil {
		return err
	}
	for _, p := range points {
		for _, c := range p.Doubts {
			fmt.Fprintf(w, "point %d: the robust accuracy may be too high: %s\n", p.Index, c.Why)
		}
	}
	return nil
}

// aligned writes rows of cells as a table.
func aligned(w io.Writer, rows [][]string) error {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	return table.Flush()
}

// slurmJob is the name by which scontrol knows the present job; empty outside Slurm.
func slurmJob(env func(string) string) string {
	id := env("SLURM_JOB_ID")
	if array, task := env("SLURM_ARRAY_JOB_ID"), env("SLURM_ARRAY_TASK_ID"); array != "" && task != "" {
		id = array + "_" + task
	}
	for _, c := range id {
		if c != '_' && (c < '0' || c > '9') {
			return ""
		}
	}
	return id
}
