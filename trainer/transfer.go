package trainer

import (
	"context"

	"rapt/adversarial"
	torch "rapt/cgo"
	"rapt/cgo/nn"
	"rapt/trainer/metrics"
)

// crafted are adversarial images by attack, part and image.
type crafted [][][][]float32

// lostError ends work of which nothing is saved.
type lostError struct{}

func (lostError) Error() string {
	return "interrupted: nothing of this work is saved, the same command begins anew"
}

// Is lets it count as ErrInterrupted.
func (lostError) Is(target error) bool { return target == ErrInterrupted }

func lost(err *error) {
	if *err == ErrInterrupted {
		*err = lostError{}
	}
}

// EvaluateFrom judges o's model on images that the attacks crafted on another one, source (a transfer attack: Papernot et al., arXiv 1605.07277;
// arXiv 1903.12561, Table 6). All images are crafted, also those that source gets wrong as they are, and pgd-N takes all of its N
// steps instead of stopping at source's first mistake, which would transfer badly. Nothing is saved under way.
func EvaluateFrom(ctx context.Context, source string, o EvalOptions) (r *metrics.Report, err error) {
	defer lost(&err)
	o.Suspicion = new(bool) // the images are another model's
	t, err := newTrial(ctx, o, nil)
	if err != nil {
		return nil, err
	}
	o.Path = source
	s, err := newTrial(ctx, o, t)
	if err != nil {
		return nil, err
	}
	images, err := s.craft(ctx)
	if err != nil {
		return nil, err
	}
	if err := t.stand(ctx, images); err != nil {
		return nil, err
	}
	t.fill(t.report, t.test.Names)
	t.report.Evaluation.Source = s.path
	return t.report, nil
}

// Transfer judges each of the models on images crafted on each of them, by the attacks and on the images of the first one's checkpoint.
func Transfer(ctx context.Context, paths []string, o EvalOptions) (out *metrics.Transfer, err error) {
	defer lost(&err)
	o.Suspicion = new(bool)
	var models []*trial
	for i, path := range paths {
		var like *trial
		if i > 0 {
			like = models[0]
		}
		o.Path = path
		t, err := newTrial(ctx, o, like)
		if err != nil {
			return nil, err
		}
		models = append(models, t)
	}
	out = &metrics.Transfer{Attacks: models[0].report.Attacks, Accuracy: map[string][][]float64{}, Images: len(models[0].labels)}
	for _, source := range models {
		images, err := source.craft(ctx)
		if err != nil {
			return nil, err
		}
		rows, worst := map[string][]float64{}, []float64(nil)
		for _, target := range models {
			if err := target.stand(ctx, images); err != nil {
				return nil, err
			}
			a := target.accuracies()
			for name, v := range a.robust {
				rows[name] = append(rows[name], v)
			}
			worst = append(worst, a.worst)
		}
		for name, row := range rows {
			out.Accuracy[name] = append(out.Accuracy[name], row)
		}
		out.WorstCase = append(out.WorstCase, worst)
	}
	for _, m := range models {
		out.Models = append(out.Models, metrics.TransferModel{Path: m.path, Name: m.report.Name, Arch: m.report.Arch, Width: m.report.Width,
			Clean: m.accuracies().clean})
	}
	return out, nil
}

// everyone are all images.
func (e *evaluation) everyone() [][]int64 {
	ids := make([]int64, len(e.labels))
	for i := range ids {
		ids[i] = int64(i)
	}
	return chunked(ids, e.chunk)
}

// craft makes adversarial images of all images by every attack, on this trial's model.
func (t *trial) craft(ctx context.Context) (out crafted, err error) {
	err = t.on(t.devs, t.options.Workers, func(c *crew) error {
		for _, a := range t.attacks {
			var parts [][][]float32
			for _, p := range a.parts {
				made := make([][]float32, len(t.labels))
				m := newMeter(t.progress, p.Name()+" on "+t.report.Name, nil, t.everyone())
				err := c.spread(ctx, t.everyone(), func(ctx context.Context, w *worker, ids []int64) (func() error, error) {
					images, err := t.make(ctx, w, a, p, ids)
					return func() error {
						for k, i := range ids {
							made[i] = images[k]
						}
						m.finished(ids)
						return nil
					}, err
				})
				m.done()
				if err != nil {
					return err
				}
				parts = append(parts, made)
			}
			out = append(out, parts)
		}
		return nil
	})
	return out, err
}

// make crafts one chunk.
func (t *trial) make(ctx context.Context, w *worker, a asked, p adversarial.Attack, ids []int64) ([][]float32, error) {
	x, y := w.batch(w.data, ids)
	mode := nn.Mode{Folded: nn.Fold(w.model.Module)}
	network := func(x torch.Tensor) torch.Tensor { return w.model.Forward(x, mode) }
	var images torch.Tensor
	if plainPGD.MatchString(a.name) && a.settings.Restarts <= 1 {
		s := a.settings
		images = t.ascend(w, adversarial.PGD{Norm: s.Norm, Epsilon: s.Epsilon, StepSize: a.stepSize(), Steps: a.steps(), RandomStart: s.RandomStart}, network, x, y, ids)
	} else {
		r, err := p.Run(ctx, network, adversarial.Batch{X: x, Y: y, IDs: ids}, t.seed, nil)
		if err != nil {
			return nil, err
		}
		images = r.Images
	}
	norm, epsilon := p.Ball()
	if err := inBall(p.Name(), norm, epsilon, images, x, ids); err != nil {
		return nil, err
	}
	all, err := images.Float32s()
	if err != nil {
		return nil, err
	}
	size := len(all) / len(ids)
	out := make([][]float32, len(ids))
	for k := range ids {
		out[k] = all[k*size : (k+1)*size]
	}
	return out, nil
}

// ascend is PGD to its last step. Each image's start is drawn from its own number, so that no grouping changes it.
func (t *trial) ascend(w *worker, p adversarial.PGD, network adversarial.Logits, x, y torch.Tensor, ids []int64) torch.Tensor {
	var starts []torch.Tensor
	for k, i := range ids {
		w.gen.Seed(key(t.seed, p.Name(), "transfer", i))
		starts = append(starts, p.Start(x.Narrow(0, int64(k), 1), w.gen))
	}
	at := w.s.Cat(0, starts...)
	p.Ascend(network, at, x, y)
	return at
}

// stand sees what this trial's model makes of images crafted elsewhere.
func (t *trial) stand(ctx context.Context, images crafted) error {
	return t.on(t.devs, t.options.Workers, func(c *crew) error {
		if err := t.see(ctx, c); err != nil {
			return err
		}
		for g, parts := range images {
			for p, made := range parts {
				if err := t.meet(ctx, c, made, t.tried[g][p]); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// meet looks at images that are there already.
func (t *trial) meet(ctx context.Context, c *crew, made [][]float32, o *outcome) error {
	return c.spread(ctx, t.everyone(), func(_ context.Context, w *worker, ids []int64) (func() error, error) {
		var all []float32
		for _, i := range ids {
			all = append(all, made[i]...)
		}
		seen, err := t.look(w, w.s.FromFloat32(all, int64(len(ids)), int64(t.test.C), int64(t.test.H), int64(t.test.W)), ids)
		return func() error {
			for k, i := range ids {
				o.Prediction[i], o.Margin[i] = seen[k].class, seen[k].margin
			}
			return nil
		}, err
	})
}
