package trainer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"rapt/trainer/checkpoint"
	"rapt/trainer/config"
	"rapt/trainer/metrics"
)

// sameConfig refuses to go on with a run of another config.
func (p *pipeline) sameConfig() error {
	path := p.run.Path("config.yaml")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if p.run.HasMore() {
			return &InputError{fmt.Errorf("%s holds a run, but not its config.yaml: put that back, choose another run.name, or give --overwrite", p.run.Dir)}
		}
		p.run.Resumed = false // killed before it began
		return nil
	}
	old, err := config.Load(path, nil)
	if err != nil {
		return err
	}
	if keys := config.Diff(old, p.cfg); len(keys) > 0 {
		return &InputError{fmt.Errorf("%s holds a run with another %s: go on with its own config, choose another run.name, or give --overwrite", p.run.Dir, strings.Join(keys, ", "))}
	}
	return nil
}

// sameStrategy refuses to go on with another prune.strategy than the run began with: the config has only its name.
func (p *pipeline) sameStrategy() error {
	path := p.run.Path(strategyName)
	if _, err := os.Stat(path); err != nil || p.cfg.Prune.Strategy == "" || !prunes(p.cfg) {
		return nil
	}
	before, err := config.ReadStrategy(path)
	if err == nil && !slices.Equal(ratiosOf(before), p.ratios) {
		err = &InputError{fmt.Errorf("%s holds other ratios than the run in %s began with: give back the old ones, choose another run.name, or give --overwrite",
			p.cfg.Prune.Strategy, p.run.Dir)}
	}
	return err
}

// finished gives the report of a run that is done, of which nothing is to be changed.
func (p *pipeline) finished() (*metrics.Report, bool) {
	var r metrics.Report
	if p.options.Stages != nil || !p.run.Resumed || !checkpoint.IsDone(p.run.Dir) || p.run.ReadJSON("report.json", &r) != nil {
		return nil, false
	}
	return &r, true
}

// reachable refuses a stage alone whose predecessor has not ended, before the folder holds a run.
func (p *pipeline) reachable(stages []*stage) error {
	for _, st := range stages {
		if st.chosen {
			if p.options.Stages == nil || st.from == "" || p.run.HasCheckpoint(st.name, "last") {
				return nil
			}
			return p.ended(st)
		}
	}
	return nil
}

// ended refuses to begin a stage without the model that it starts from.
func (p *pipeline) ended(st *stage) error {
	if p.run.HasCheckpoint(st.from, "best") {
		return nil
	}
	return &InputError{fmt.Errorf("stage %s starts from the model of %s, which %s does not hold yet: run that stage first", st.name, st.from, p.run.Dir)}
}

// sparesInputs refuses to overwrite the folder that the run would read from.
func (p *pipeline) sparesInputs() error {
	dir, err := realPath(p.dir())
	if err != nil {
		return nil // there is none
	}
	for key, path := range map[string]string{"model.load": p.cfg.Model.Load, "prune.strategy": p.cfg.Prune.Strategy} {
		if path == "" {
			continue
		}
		path, err := realPath(path)
		if err != nil {
			return p.cfg.Errorf(key, "%v", err)
		}
		if inside, err := filepath.Rel(dir, path); err == nil && filepath.IsLocal(inside) {
			return p.cfg.Errorf(key, "%s lies in the run's own folder, which --overwrite would empty: choose another run.name", path)
		}
	}
	return nil
}

func realPath(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(path)
}

// sameData refuses to go on with other images than the run began with.
func (p *pipeline) sameData() error {
	var env struct {
		Data string `json:"data_sha256"`
	}
	if err := p.run.ReadJSON("env.json", &env); errors.Is(err, fs.ErrNotExist) {
		return nil // killed before it began
	} else if err != nil {
		return err
	}
	if env.Data != "" && env.Data != p.parts.SHA256 {
		return &InputError{fmt.Errorf("%s was begun with other images of %s (SHA-256 %.12s) than are in the data folder now (%.12s): put those back, choose another run.name, or give --overwrite",
			p.run.Dir, p.cfg.Data.Dataset, env.Data, p.parts.SHA256)}
	}
	return nil
}
