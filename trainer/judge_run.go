package trainer

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"rapt/trainer/checkpoint"
	"rapt/trainer/metrics"
)

// trial is an evaluation that is about to be run.
type trial struct {
	*opened
	*evaluation
	options EvalOptions
	attacks []asked
	report  *metrics.Report
	suspect bool // look for signs that the attacks failed
	checks  []metrics.Check
}

// Evaluate judges a checkpoint on its data set's test images: clean and robust accuracy, and sparsity. When ctx ends the work is
// saved, and the same call goes on.
func Evaluate(ctx context.Context, o EvalOptions) (*metrics.Report, error) {
	t, err := newTrial(ctx, o, nil)
	if err == nil {
		err = t.openState()
	}
	if err != nil {
		return nil, err
	}
	defer t.state.close()
	if err := t.run(ctx); err != nil {
		return nil, err
	}
	if err := t.write(o.Files); err != nil {
		return nil, err
	}
	t.state.remove()
	return t.report, nil
}

// newTrial checks all that can be checked before any work. like, where it is given, is
// the trial of another model: this one is judged by the same attacks on the same images.
func newTrial(ctx context.Context, o EvalOptions, like *trial) (*trial, error) {
	t := &trial{options: o}
	m, err := openLike(ctx, o, like)
	if err != nil {
		return nil, err
	}
	if t.opened = m; like != nil {
		t.attacks = like.attacks
	} else if t.attacks, err = m.chosen(o); err != nil {
		return nil, err
	}
	if t.report, err = m.report(); err != nil {
		return nil, err
	}
	t.report.Seed, t.report.Version, t.report.Attacks = seedOf(o, m, like), o.Version, reports(t.attacks)
	t.report.DataNote = m.note
	t.suspect = slices.ContainsFunc(t.attacks, asked.isAutoAttack)
	if o.Suspicion != nil {
		t.suspect = *o.Suspicion
	}
	var groups []group
	for _, a := range t.attacks {
		groups = append(groups, a.group())
	}
	extra, err := t.extras()
	if err != nil {
		return nil, err
	}
	t.evaluation = newEvaluation(append(groups, extra...), m.test.Labels, m.spec.Classes, t.chunkSize(), key(t.report.Seed, "test"))
	progress := metrics.NewProgress(o.Console.Out, o.Console.IsTTY)
	t.progress, t.say = progress, func(line string) { fmt.Fprintln(progress, line) }
	return t, nil
}

func seedOf(o EvalOptions, m *opened, like *trial) uint64 {
	if like != nil {
		return like.report.Seed
	}
	return cmp.Or(o.Seed, m.seed)
}

// openLike opens a model with the test images of its own data set, or with those of another trial.
func openLike(ctx context.Context, o EvalOptions, like *trial) (*opened, error) {
	if like == nil {
		return openModel(ctx, o.Path, o.DataDir, o.Device, o.Limit)
	}
	m, err := openFile(o.Path)
	if err != nil {
		return nil, err
	}
	if m.dataset != like.dataset || m.spec.Classes != like.spec.Classes {
		return nil, &InputError{fmt.Errorf("%s is a model of %s with %d classes, and %s one of %s with %d: they cannot be judged on the same images", m.path, m.dataset,
			m.spec.Classes, like.path, like.dataset, like.spec.Classes)}
	}
	m.test, m.sum, m.note, m.devs = like.test, like.sum, like.note, like.devs
	return m, m.takes(m.test)
}

// extras are the questions beside the attacks.
func (t *trial) extras() (out []group, err error) {
	if len(t.options.Epsilons) > 0 {
		curve, err := t.curve(t.options, t.attacks)
		if err != nil {
			return nil, err
		}
		out = append(out, curve)
	}
	if t.suspect {
		groups, err := t.suspicion().groups()
		if err != nil {
			return nil, err
		}
		out = append(out, groups...)
	}
	return out, nil
}

func (t *trial) suspicion() suspicion {
	return suspicion{t.described, t.attacks, t.options, t.test.C * t.test.H * t.test.W}
}

// chunkSize is fixed on a CPU; on a GPU it is the caller's.
func (t *trial) chunkSize() int {
	if !t.devs[0].IsCUDA() {
		return chunkSize
	}
	if t.options.BatchSize > 0 {
		return t.options.BatchSize
	}
	return 1000
}

// openState reads what an interrupted evaluation left.
func (t *trial) openState() error {
	var settings []any
	for _, a := range t.attacks {
		settings = append(settings, a.report())
	}
	print := fingerprint(t.model, t.sum, t.test.N, settings, t.options.StepSize, t.asks(), t.report.Seed, t.chunk, t.devs[0].IsCUDA(), t.options.Version)
	path := cmp.Or(t.options.State, defaultState(t.path, print))
	var err error
	t.state, err = openState(path, t.options.State != "", print, t.test.C*t.test.H*t.test.W, t.evaluation)
	if err == nil && t.state.there {
		t.tell("going on with " + path)
	}
	return err
}

// run does the work and fills the report.
func (t *trial) run(ctx context.Context) error {
	err := t.on(t.devs, t.options.Workers, func(c *crew) (err error) {
		if err := t.evaluation.run(ctx, c); err != nil || !t.suspect {
			return err
		}
		t.checks, err = t.suspicion().checks(ctx, c, t.evaluation)
		return err
	})
	if err == ErrInterrupted && t.state == nil {
		return lostError{}
	}
	if err != nil {
		return err
	}
	t.fill(t.report, t.test.Names)
	t.report.Evaluation.Suspicion = t.checks
	if g := t.group("curve"); g >= 0 {
		a := t.attacks[0]
		t.report.Evaluation.Curve = t.curveOf(a.name, a.settings.Norm, t.options.Epsilons, g)
	}
	return nil
}

// write writes the files asked for.
func (t *trial) write(f EvalFiles) error {
	if f.CSV != "" {
		if err := writeCSV(f.CSV, t.samples()); err != nil {
			return err
		}
	}
	if f.Curve != "" && t.report.Evaluation.Curve != nil {
		if err := writeCSV(f.Curve, curveRows(t.report.Evaluation.Curve)); err != nil {
			return err
		}
	}
	if f.Images != "" {
		meta := maps.Clone(t.file.Metadata)
		meta["epsilon"] = float(cmp.Or(t.options.Epsilon, t.attack.Epsilon))
		if err := checkpoint.Write(f.Images, t.adversarialFile(t.test, meta)); err != nil {
			return err
		}
	}
	if f.Grid != "" {
		picture, ok := t.grid(t.test)
		if !ok {
			t.tell("no image was broken, so there is no grid to draw")
			return nil
		}
		return writePNG(f.Grid, picture)
	}
	return nil
}
