package adversarial

import (
	"context"
	"fmt"

	torch "rapt/cgo"
)

// trial is one attack on one batch. Images that the network got wrong leave it at once: x, y and what else is held by image
// are always those that still stand, in the batch's order.
type trial struct {
	ctx      context.Context
	s        *torch.Session
	name     string
	seed     uint64
	forward  Logits
	progress func(standing int, done float64)

	x, y  torch.Tensor // the images that stand and their classes: [n, C, H, W], int64 [n]
	clean torch.Tensor // their logits, [n, classes]
	best  torch.Tensor // where the attack got to with each, [n, C, H, W]
	rows  []int        // their places in the batch
	ids   []int64      // of the whole batch

	fooled []bool
	steps  []int
	parts  []torch.Tensor // images of the batch that were taken out
	order  []int          // and their places in it
}

// attempt runs body on those images of b that the network gets right.
func attempt(ctx context.Context, name string, f Logits, b Batch, seed uint64, progress func(int, float64), body func(*trial)) (Result, error) {
	s := b.X.Session()
	if s == nil {
		return Result{}, b.X.Err()
	}
	n := int(b.X.Size(0))
	if int(b.Y.Numel()) != n || len(b.IDs) != n {
		return Result{}, fmt.Errorf("%s: %d images with %d classes and %d IDs", name, n, b.Y.Numel(), len(b.IDs))
	}
	t := &trial{ctx: ctx, s: s, name: name, seed: seed, forward: f, progress: progress, ids: b.IDs,
		fooled: make([]bool, n), steps: make([]int, n), rows: make([]int, n)}
	for i := range t.rows {
		t.rows[i], t.steps[i] = i, -1
	}
	images := s.Scope(func() torch.Tensor {
		t.x, t.y, t.best = b.X.Detach().Clone(), b.Y.Clone(), b.X.Detach().Clone()
		t.clean = s.Scope(func() torch.Tensor { return t.logits(t.x) })
		t.take(t.wrong(t.clean), t.x, 0)
		if !t.stop() {
			body(t)
		}
		return t.images()
	})
	if err := ctx.Err(); err != nil {
		s.Free(images)
		return Result{}, err
	}
	return Result{Images: images, Fooled: t.fooled, Steps: t.steps}, s.Err()
}

// images puts those that stand and those that were taken out back into the batch's order.
func (t *trial) images() torch.Tensor {
	place := make([]int64, len(t.fooled))
	for i, row := range append(t.order, t.rows...) {
		place[row] = int64(i)
	}
	return t.s.Cat(0, append(t.parts, t.best)...).IndexSelect(0, t.s.FromInt64(place, int64(len(place))))
}

// stop is whether there is nothing left to do.
func (t *trial) stop() bool { return len(t.rows) == 0 || t.s.Err() != nil || t.ctx.Err() != nil }

// report tells the caller how far the attack is.
func (t *trial) report(done float64) {
	if t.progress != nil {
		t.progress(len(t.rows), done)
	}
}

// net is the network on x. On a GPU a new batch size can cost a search for the fastest kernels, so there are few of them.
func (t *trial) net(x torch.Tensor) torch.Tensor {
	if t.s.Device().IsCUDA() {
		return padded(t.forward, x, 32)
	}
	return t.forward(x)
}

// padded is f on the n images of x, repeated up to a multiple of so many, and of that the first n rows.
func padded(f Logits, x torch.Tensor, multiple int64) torch.Tensor {
	n := x.Size(0)
	whole := (n + multiple - 1) / multiple * multiple
	if whole == n {
		return f(x)
	}
	rows := make([]int64, whole)
	for i := range rows {
		rows[i] = int64(i) % n
	}
	return f(x.IndexSelect(0, x.Session().FromInt64(rows, whole))).Narrow(0, 0, n)
}

// logits is the network on x, outside any graph.
func (t *trial) logits(x torch.Tensor) (z torch.Tensor) {
	t.s.NoGrad(func() { z = t.net(x) })
	return z
}

// gradient is that of the sum of the images' losses at x, with the logits and the losses [n] themselves.
func (t *trial) gradient(x torch.Tensor, l loss, target torch.Tensor) (g, logits, losses torch.Tensor) {
	x = x.Detach().RequiresGrad_(true)
	z := t.net(x)
	each := l(z, t.y, target)
	return t.s.Grad(each.Sum(), x)[0], z.Detach(), each.Detach()
}

// wrong is which images the network errs on, by its logits. Logits that are not numbers make an error.
func (t *trial) wrong(logits torch.Tensor) []bool {
	var out []bool
	t.s.Do(func() {
		bad, err := t.s.Cat(0, logits.Argmax(1).Ne(t.y), logits.IsFinite().All().LogicalNot().Reshape(1)).Bools()
		if err != nil {
			return
		}
		if out = bad[:len(bad)-1]; bad[len(bad)-1] {
			t.s.Fail(fmt.Errorf("%s: the network's logits are not finite", t.name))
		}
	})
	return out
}

// take takes the images out that fooled says, as they are in at, with the step that fooled the network. Held are further tensors
// by image. It must be called in the scope that holds them.
func (t *trial) take(fooled []bool, at torch.Tensor, step int, held ...*torch.Tensor) {
	var out, in []int64
	for i, yes := range fooled {
		if yes {
			out = append(out, int64(i))
			t.order = append(t.order, t.rows[i])
			t.fooled[t.rows[i]], t.steps[t.rows[i]] = true, step
		} else {
			in = append(in, int64(i))
		}
	}
	if len(out) == 0 || t.s.Err() != nil {
		return
	}
	t.parts = append(t.parts, t.s.Scope(func() torch.Tensor { return at.IndexSelect(0, t.s.FromInt64(out, int64(len(out)))) }))
	rows := t.rows[:0]
	for _, i := range in {
		rows = append(rows, t.rows[i])
	}
	t.rows = rows
	idx := t.s.FromInt64(in, int64(len(in)))
	for _, h := range append(held, &t.x, &t.y, &t.clean, &t.best) {
		if h.Defined() {
			rest := h.IndexSelect(0, idx)
			t.s.Free(*h)
			*h = rest
		}
	}
	t.s.Free(idx)
}

// runnerUp is the class of the k-th largest logit of each clean image, [n]; k from 2 gives the wrong classes, the likeliest first.
func (t *trial) runnerUp(k int) torch.Tensor {
	return t.s.Scope(func() torch.Tensor {
		_, idx := t.clean.TopK(int64(k), 1, true)
		return idx.Narrow(1, int64(k-1), 1).Reshape(-1).Clone()
	})
}

// targets is the number of classes that targeted attacks aim at: nine, as in AutoAttack, or all wrong ones where there are fewer.
func (t *trial) targets() int { return int(min(9, t.clean.Size(1)-1)) }
