package trainer

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"rapt/adversarial"
	torch "rapt/cgo"
	"rapt/cgo/nn"
	"rapt/trainer/metrics"
)

// group is an attack as it was asked for: one attack, or several that follow each other, such as autoattack's four. Each one
// attacks the images that those before it in its group left standing, from the original image on.
type group struct {
	name  string
	parts []adversarial.Attack
	apart bool // answers a question of its own, such as another radius, and does not count in the worst case
	limit int  // attacks only so many of the images that are right, from all over the set; 0 is all
}

// partName is what reports call one of the group's attacks.
func (g group) partName(i int) string {
	if len(g.parts) == 1 {
		return g.name
	}
	return g.name + "/" + g.parts[i].Name()
}

// outcome is what became of the images, by their number in the data set.
type outcome struct {
	Prediction []int     `json:"prediction"` // the class the network sees; -1 where the image was not looked at
	Margin     []float32 `json:"margin"`     // logit of the right class less the largest other: below 0 where it is wrong
	Step       []int     `json:"step"`       // the iteration that fooled the network first, -1 where none did
}

func newOutcome(n int) *outcome {
	o := &outcome{make([]int, n), make([]float32, n), make([]int, n)}
	for i := range n {
		o.Prediction[i], o.Step[i] = -1, -1
	}
	return o
}

func (o *outcome) seen(i int64) bool { return o.Prediction[i] >= 0 }

// evaluation is one model's test. Its result depends on the model, the images, the attacks, the seed and the size of the chunks,
// not on who does which chunk, nor on where the work was interrupted.
type evaluation struct {
	groups  []group
	labels  []uint16
	classes int
	chunk   int // images attacked together
	seed    uint64

	clean *outcome
	loss  []float64    // cross-entropy of the clean images
	tried [][]*outcome // by group and part
	kept  [][]float32  // by image: the first adversarial image that counts in the worst case, nil where there is none

	state    *stateFile // where the work is saved; nil: nowhere
	keep     bool       // save it when all is done too
	progress metrics.Progress
	say      func(line string) // told each attack's result; may be nil
}

func newEvaluation(groups []group, labels []uint16, classes, chunk int, seed uint64) *evaluation {
	n := len(labels)
	e := &evaluation{groups: groups, labels: labels, classes: classes, chunk: chunk, seed: seed,
		clean: newOutcome(n), loss: make([]float64, n), kept: make([][]float32, n)}
	for _, g := range groups {
		var outcomes []*outcome
		for range g.parts {
			outcomes = append(outcomes, newOutcome(n))
		}
		e.tried = append(e.tried, outcomes)
	}
	return e
}

// group is the place of the group of that name, -1 where there is none.
func (e *evaluation) group(name string) int {
	return slices.IndexFunc(e.groups, func(g group) bool { return g.name == name })
}

// right says that the network saw image i as it is.
func (e *evaluation) right(o *outcome, i int64) bool { return o.Prediction[i] == int(e.labels[i]) }

// broken says that the attack found an image that the network gets wrong.
func (e *evaluation) broken(o *outcome, i int64) bool { return o.seen(i) && !e.right(o, i) }

// standing are the images that are right and that the group's first so many attacks did not break.
func (e *evaluation) standing(g, parts int) (ids []int64) {
	var right []int64
	for i := range int64(len(e.labels)) {
		if e.right(e.clean, i) {
			right = append(right, i)
		}
	}
	for _, i := range spaced(right, e.groups[g].limit) {
		if e.holds(g, parts, i) {
			ids = append(ids, i)
		}
	}
	return ids
}

// spaced are n of the ids at even distances, all where n is 0: a set that is sorted by class would give its first so many of one class.
func spaced(ids []int64, n int) []int64 {
	if n == 0 || n >= len(ids) {
		return ids
	}
	out := make([]int64, n)
	for k := range out {
		out[k] = ids[k*len(ids)/n]
	}
	return out
}

// holds says that none of the group's first so many attacks broke image i.
func (e *evaluation) holds(g, parts int, i int64) bool {
	for _, o := range e.tried[g][:parts] {
		if e.broken(o, i) {
			return false
		}
	}
	return true
}

// run does what is left to do. When ctx ends, what is done is saved and the error is ErrInterrupted.
func (e *evaluation) run(ctx context.Context, c *crew) (err error) {
	defer func() {
		if err == ErrInterrupted || err == nil && e.keep {
			err = cmp.Or(e.saved(true), err)
		}
	}()
	if err := e.see(ctx, c); err != nil {
		return err
	}
	for g := range e.groups {
		for p := range e.groups[g].parts {
			if err := e.strike(ctx, c, g, p); err != nil {
				return err
			}
		}
	}
	return e.confirm(ctx, c)
}

// see finds out what the network makes of the images as they are.
func (e *evaluation) see(ctx context.Context, c *crew) error {
	var ids []int64
	for i := range int64(len(e.labels)) {
		ids = append(ids, i)
	}
	return c.spread(ctx, e.undone(e.clean, ids), func(_ context.Context, w *worker, ids []int64) (func() error, error) {
		x, _ := w.batch(w.data, ids)
		seen, err := e.look(w, x, ids)
		return func() error {
			for k, i := range ids {
				e.clean.Prediction[i], e.clean.Margin[i], e.loss[i] = seen[k].class, seen[k].margin, seen[k].loss
			}
			return e.saved(false)
		}, err
	})
}

// undone are the chunks of ids that o does not hold yet. A chunk is done as a whole, so the others stay what they were.
func (e *evaluation) undone(o *outcome, ids []int64) (out [][]int64) {
	for _, chunk := range chunked(ids, e.chunk) {
		if !o.seen(chunk[0]) {
			out = append(out, chunk)
		}
	}
	return out
}

// saved saves what is done where it is time to, or where it must. Where the user named no place for it, work goes on without.
func (e *evaluation) saved(must bool) error {
	if e.state == nil {
		return nil
	}
	err := e.state.save(e, must)
	if err == nil || e.state.chosen {
		return err
	}
	e.tell(fmt.Sprintf("%v; an interruption would cost all work", err))
	e.state = nil
	return nil
}

func (e *evaluation) tell(line string) {
	if e.say != nil {
		e.say(line)
	}
}

// strike has one attack tried on the images that stand before it.
func (e *evaluation) strike(ctx context.Context, c *crew, g, p int) error {
	began := time.Now()
	a, o, ids := e.groups[g].parts[p], e.tried[g][p], e.standing(g, p)
	chunks := e.undone(o, ids)
	m := newMeter(e.progress, e.groups[g].partName(p), ids, chunks)
	defer m.done()
	err := c.spread(ctx, chunks, func(ctx context.Context, w *worker, ids []int64) (func() error, error) {
		shots, err := e.shoot(ctx, w, a, ids, m.of(ids))
		return func() error {
			for k, i := range ids {
				s := shots[k]
				o.Prediction[i], o.Margin[i], o.Step[i] = s.class, s.margin, s.step
				if s.image != nil && !e.groups[g].apart && e.kept[i] == nil {
					e.kept[i] = s.image
				}
			}
			m.finished(ids)
			return e.saved(false)
		}, err
	})
	if err == nil && len(chunks) > 0 && !e.groups[g].apart {
		left := len(e.standing(g, p+1))
		e.tell(fmt.Sprintf("after %s: %d of %d images stand, robust accuracy %.2f %% (%s)", e.groups[g].partName(p), left, len(e.labels),
			100*float64(left)/float64(len(e.labels)), time.Since(began).Round(100*time.Millisecond)))
	}
	return err
}

// sight is what the network makes of one image.
type sight struct {
	class        int
	margin, size float32 // size is that of the largest logit, for what rounding may do
	loss         float64
}

// roundingOn bounds what the order of sums does to a margin on a device, relative to the largest logit: an attack's own pass, with batch norm folded
// or in other company, may see the two best classes the other way round where they are as near as that. A GPU takes other algorithms for other sizes.
func roundingOn(d torch.Device) float64 {
	if d.IsCUDA() {
		return 1e-3
	}
	return 1e-4
}

func (s sight) tied(on torch.Device) bool {
	return math.Abs(float64(s.margin)) <= roundingOn(on)*(1+float64(s.size))
}

// look takes images through the network in evaluation mode.
func (e *evaluation) look(w *worker, x torch.Tensor, ids []int64) ([]sight, error) {
	var logits []float32
	var err error
	w.s.NoGrad(func() { logits, err = w.model.Forward(x, nn.Eval).Float32s() })
	if err != nil {
		return nil, err
	}
	out := make([]sight, len(ids))
	for k, i := range ids {
		if out[k], err = sightOf(logits[k*e.classes:(k+1)*e.classes], int(e.labels[i])); err != nil {
			return nil, fmt.Errorf("image %d: %w", i, err)
		}
	}
	return out, nil
}

// sightOf one row of logits. Of equal ones the first is the network's choice.
func sightOf(row []float32, label int) (s sight, err error) {
	other := math.Inf(-1)
	for j, v := range row {
		if v := float64(v); math.IsNaN(v) || math.IsInf(v, 0) {
			return s, fmt.Errorf("a logit of the network is not a finite number")
		}
		if v > row[s.class] {
			s.class = j
		}
		if j != label {
			other = max(other, float64(v))
		}
		s.size = max(s.size, float32(math.Abs(float64(v))))
	}
	sum := 0.0
	for _, v := range row {
		sum += math.Exp(float64(v - row[s.class]))
	}
	s.margin = float32(float64(row[label]) - other)
	s.loss = math.Log(sum) + float64(row[s.class]-row[label])
	return s, nil
}

// confirm looks once more, in other company, at every adversarial image that the worst case counts: those read back from the disk too.
func (e *evaluation) confirm(ctx context.Context, c *crew) error {
	var ids []int64
	for i, image := range e.kept {
		if image != nil {
			ids = append(ids, int64(i))
		}
	}
	return c.spread(ctx, chunked(ids, e.chunk), func(_ context.Context, w *worker, ids []int64) (func() error, error) {
		x0, _ := w.batch(w.data, ids)
		var all []float32
		for _, i := range ids {
			all = append(all, e.kept[i]...)
		}
		x := w.s.FromFloat32(all, x0.Shape()...)
		seen, err := e.look(w, x, ids)
		if err != nil {
			return nil, err
		}
		for k, i := range ids {
			g, p := e.breaker(i)
			if g < 0 {
				return nil, faultf("there is an adversarial image %d that no attack made", i)
			}
			a := e.groups[g].parts[p]
			norm, epsilon := a.Ball()
			if err := inBall(a.Name(), norm, epsilon, x.Narrow(0, int64(k), 1), x0.Narrow(0, int64(k), 1), ids[k:k+1]); err != nil {
				return nil, err
			}
			if seen[k].class == int(e.labels[i]) && !seen[k].tied(w.s.Device()) {
				return nil, faultf("%s counted image %d as broken, and the network gets its adversarial image right (margin %.4g)", a.Name(), i, seen[k].margin)
			}
		}
		return func() error { return nil }, nil
	})
}

// breaker is the first attack of the worst case that broke image i; -1 where none did.
func (e *evaluation) breaker(i int64) (g, p int) {
	for g := range e.groups {
		for p, o := range e.tried[g] {
			if !e.groups[g].apart && e.broken(o, i) {
				return g, p
			}
		}
	}
	return -1, -1
}
