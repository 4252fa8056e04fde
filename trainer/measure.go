package trainer

import (
	"cmp"
	"context"
	"fmt"

	"rapt/adversarial"
	torch "rapt/cgo"
	"rapt/cgo/nn"
	"rapt/trainer/metrics"
)

// accuracies of a model over a set, as fractions.
type accuracies struct {
	clean  float64
	robust map[string]float64 // by attack
	worst  float64            // right on the clean image and under every attack
	loss   float64            // mean cross-entropy on the clean images
	checks []metrics.Check    // for signs that the attacks failed; nil where nobody looked
}

// chunkSize is how many images are attacked together. Small chunks stay in a CPU's cache; the result does not depend on it,
// but for the random start, which is drawn by chunk: so it is fixed here and not the caller's batch size.
const chunkSize = 100

// measure judges the team's model in evaluation mode. Chunk i draws its random starts from key(seed, attack, i), so the
// result depends neither on the number of members nor on the order of work. It stops early when ctx ends.
func (t *team) measure(ctx context.Context, d *images, attacks []adversarial.PGD, batch int, seed uint64, step func(done int)) (accuracies, error) {
	if d.n == 0 {
		return accuracies{}, fmt.Errorf("there are no images to measure on")
	}
	if lead := t.members[0]; !lead.s.Device().IsCUDA() {
		batch = chunkSize
	}
	chunks := (d.n + batch - 1) / batch
	tally := make([][]float64, len(t.members)) // clean, each attack, worst, loss
	err := t.each(func(m *member) error {
		count := make([]float64, len(attacks)+3)
		for c := m.id; c < chunks; c += len(t.members) {
			if ctx.Err() != nil {
				return ErrInterrupted
			}
			var err error
			m.s.Do(func() { err = m.judge(d, attacks, c, c*batch, min((c+1)*batch, d.n), seed, count) })
			if err != nil {
				return err
			}
			if m.id == 0 && step != nil {
				step(min((c+1)*batch, d.n))
			}
		}
		tally[m.id] = count
		return nil
	})
	if err != nil {
		return accuracies{}, err
	}
	sum := make([]float64, len(attacks)+3)
	for _, count := range tally {
		for i, v := range count {
			sum[i] += v
		}
	}
	n := float64(d.n)
	a := accuracies{clean: sum[0] / n, robust: map[string]float64{}, worst: sum[len(attacks)+1] / n, loss: sum[len(attacks)+2] / n}
	for i, p := range attacks {
		a.robust[p.Name()] = sum[i+1] / n
	}
	return a, nil
}

// measure is the team's, as validation has it.
func (p *pipeline) measure(ctx context.Context, d *images, attacks []adversarial.PGD) (acc accuracies, err error) {
	err = p.inFloat32(func() (err error) {
		acc, err = p.team.measure(ctx, d, attacks, p.cfg.Data.EvalBatchSize, key(p.cfg.Run.Seed, "validation"), nil)
		return err
	})
	return acc, err
}

// inFloat32 has f measure without TF32, which is for training only.
func (p *pipeline) inFloat32(f func() error) error {
	if p.cfg.Run.Precision != "tf32" {
		return f()
	}
	if err := torch.SetTF32(false); err != nil {
		return err
	}
	err := f()
	return cmp.Or(err, torch.SetTF32(true))
}

// judge adds the right answers on images [from, to) to count.
func (m *member) judge(d *images, attacks []adversarial.PGD, chunk, from, to int, seed uint64, count []float64) error {
	x, y := m.slice(d, from, to)
	forward := func(x torch.Tensor) torch.Tensor { return m.model.Forward(x, nn.Eval) }
	right := func(x torch.Tensor) (logits, ok torch.Tensor) {
		m.s.NoGrad(func() {
			logits = forward(x)
			ok = logits.Argmax(1).Eq(y)
		})
		return logits, ok
	}
	logits, all := right(x)
	results := []torch.Tensor{all.Sum()}
	folded := nn.Mode{Folded: nn.Fold(m.model.Module)}
	attacked := func(x torch.Tensor) torch.Tensor { return m.model.Forward(x, folded) }
	for _, p := range attacks {
		m.gen.Seed(key(seed, p.Name(), chunk))
		adv := p.Perturb(attacked, x, y, m.gen)
		if inside, err := adversarial.Inside(adv, x, p.Norm, p.Epsilon); err != nil {
			return err
		} else if !inside {
			if finite, err := adv.IsFinite().All().Item(); err != nil || finite == 0 {
				return cmp.Or(err, errNotFinite)
			}
			return fmt.Errorf("%s left the ball or [0, 1] on images %d to %d: a fault in rapt, please report it", p.Name(), from, to-1)
		}
		_, ok := right(adv)
		all = all.LogicalAnd(ok)
		results = append(results, ok.Sum())
	}
	results = append(results, all.Sum(), logits.CrossEntropy(y, torch.ReduceSum, 0))
	for i, r := range results {
		v, err := r.Item()
		if err != nil {
			return err
		}
		count[i] += v
	}
	return nil
}
