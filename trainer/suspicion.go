package trainer

import (
	"context"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"rapt/adversarial"
	torch "rapt/cgo"
	"rapt/cgo/nn"
	"rapt/trainer/metrics"
)

// The suspicion checks look for signs of masked gradients: a network that stands because an attack cannot see its way, not because there
// is none (Athalye et al., arXiv 1802.00420, section 3.1; Carlini et al., arXiv 1902.06705, section 5; AutoAttack's flags).
const (
	suspectImages = 200   // that the checks attack, of those that are right
	suspectQuery  = 1000  // queries of the black-box attack
	suspectMore   = 5     // times as many steps
	tolerated     = 0.02  // of the images: what another attack may break on top
	toleratedBox  = 0.002 // the same for AutoAttack's square, over all images
	toleratedFar  = 0.01  // of the images that may stand where any image is allowed
)

const (
	otherAttacks = "suspicion" // the config's PGD, then attacks that should find little more
	farAttack    = "suspicion, any image"
)

var plainPGD = regexp.MustCompile(`^pgd-[0-9]+$`)

// suspects are the attacks of the checks.
func (t *trial) suspects() ([]group, error) {
	base, o := "pgd-20", t.options
	if len(t.attacks) > 0 && plainPGD.MatchString(t.attacks[0].name) {
		base = t.attacks[0].name
	}
	own, err := t.attackIn(base, o, t.radius())
	if err != nil {
		return nil, err
	}
	norm := own.settings.Norm
	if norm == adversarial.L1 {
		return nil, &InputError{fmt.Errorf("--suspicion looks at Linf and L2 alone: leave it out with L1")}
	}
	names := []string{"fgsm"}
	if t.boxed() < 0 {
		names = append(names, fmt.Sprintf("square-%d", suspectQuery))
	}
	o.StepSize, o.Restarts = 0, 0
	others := group{name: otherAttacks, parts: own.parts, apart: true, limit: suspectImages}
	for _, name := range append(names, fmt.Sprintf("pgd-%d", suspectMore*own.steps())) {
		a, err := t.attackIn(name, o, t.radius())
		if err != nil {
			return nil, err
		}
		others.parts = append(others.parts, a.parts...)
	}
	everywhere := 1.0
	if norm == adversarial.L2 {
		everywhere = math.Sqrt(float64(t.test.C * t.test.H * t.test.W))
	}
	far, err := t.attackIn("pgd-100", o, everywhere)
	return []group{others, {name: farAttack, parts: far.parts, apart: true, limit: suspectImages}}, err
}

// radius of the attacks.
func (t *trial) radius() float64 {
	if t.options.Epsilon > 0 {
		return t.options.Epsilon
	}
	return t.attack.Epsilon
}

// boxed is the set among the attacks that ends in the black-box attack square, -1 where there is none.
func (t *trial) boxed() int {
	return slices.IndexFunc(t.attacks, func(a asked) bool {
		return strings.HasPrefix(a.name, "autoattack") && a.parts[len(a.parts)-1].Name() == "square"
	})
}

// judged are the checks that go by what attacks broke.
func (t *trial) judged() []metrics.Check {
	g := t.extra[otherAttacks]
	after := t.after(g)
	looked := t.looked(g)
	base := after[0].Attack
	check := func(name string, a metrics.After, images int, most float64, means string) metrics.Check {
		c := metrics.Check{Check: name, Fine: float64(a.Broken) <= most*float64(images)}
		c.Why = fmt.Sprintf("%s breaks %d of %d images on top of what came before", a.Attack, a.Broken, images)
		if !c.Fine {
			c.Why += ": " + means
		}
		return c
	}
	out := []metrics.Check{check("one step", after[1], looked, tolerated, base+" should find what a single step finds: its gradients mislead")}
	if box := t.boxed(); box >= 0 {
		list := t.after(box)
		last := list[len(list)-1]
		out = append(out, check("black box", last, len(t.labels), toleratedBox, "an attack without gradients should find nothing that those with gradients miss"))
	} else {
		out = append(out, check("black box", after[2], looked, tolerated, "an attack without gradients should find little that "+base+" misses: give --attacks autoattack"))
	}
	more := after[len(after)-1]
	out = append(out, check("more steps", more, looked, tolerated, base+" has not converged, and its accuracy is too high: take more steps, or autoattack"))
	return append(out, t.farCheck())
}

// looked is how many images the group attacked first.
func (t *trial) looked(g int) int { return len(t.standing(g, 0)) }

// farCheck is on the attack that may go anywhere, which must find an image of another class.
func (t *trial) farCheck() metrics.Check {
	g := t.extra[farAttack]
	all, left := t.looked(g), len(t.standing(g, 1))
	_, epsilon := t.groups[g].parts[0].Ball()
	c := metrics.Check{Check: "any image", Fine: float64(left) <= toleratedFar*float64(all),
		Why: fmt.Sprintf("with epsilon %.4g, which allows any image, %d of %d stand", epsilon, left, all)}
	if !c.Fine {
		c.Why += ": the gradients do not lead to the images of other classes"
	}
	return c
}

// inspect makes the checks, also those on the network's outputs and gradients, which need no attack.
func (t *trial) inspect(ctx context.Context, c *crew) error {
	t.checks = t.judged()
	ids := t.standing(t.extra[otherAttacks], 0)
	if len(ids) == 0 {
		return nil
	}
	var total outputs
	err := c.spread(ctx, chunked(ids, t.chunk), func(_ context.Context, w *worker, ids []int64) (func() error, error) {
		o, err := t.outputs(w, ids)
		return func() error {
			total.add(o)
			return nil
		}, err
	})
	t.checks = append(t.checks, total.checks()...)
	return err
}

// outputs is what the network's logits and gradients look like.
type outputs struct {
	images, flat           int     // flat: the gradient of the cross-entropy is zero throughout
	apart                  float64 // the largest difference between two passes, relative to the largest logit
	notProbability, notLog int     // images whose outputs are not probabilities, not log-probabilities
}

func (o *outputs) add(p outputs) {
	o.images, o.flat, o.apart = o.images+p.images, o.flat+p.flat, max(o.apart, p.apart)
	o.notProbability, o.notLog = o.notProbability+p.notProbability, o.notLog+p.notLog
}

func (t *trial) outputs(w *worker, ids []int64) (o outputs, err error) {
	x, y := w.batch(w.data, ids)
	x = x.Detach().RequiresGrad_(true)
	z := w.model.Forward(x, nn.Eval)
	g := w.s.Grad(z.CrossEntropy(y, torch.ReduceSum, 0), x)[0]
	moves, err := g.Flatten().CountNonzero(1).Int64s()
	if err != nil {
		return o, err
	}
	first, err := z.Detach().Float32s()
	if err != nil {
		return o, err
	}
	again, err := w.model.Forward(x, nn.Eval).Detach().Float32s()
	if err != nil {
		return o, err
	}
	o.images = len(ids)
	for k, n := range moves {
		if n == 0 {
			o.flat++
		}
		o.look(first[k*t.classes:(k+1)*t.classes], again[k*t.classes:(k+1)*t.classes])
	}
	return o, nil
}

// alike is how near sums of float32 come to what they would be.
const alike = 1e-4

func (o *outputs) look(row, again []float32) {
	sum, exps, largest, inside := 0.0, 0.0, 1.0, true
	for j, v := range row {
		sum, exps = sum+float64(v), exps+math.Exp(float64(v))
		inside = inside && v >= 0 && v <= 1
		largest = max(largest, math.Abs(float64(v)))
		o.apart = max(o.apart, math.Abs(float64(v-again[j]))/largest)
	}
	if !inside || math.Abs(sum-1) > alike {
		o.notProbability++
	}
	if math.Abs(exps-1) > alike {
		o.notLog++
	}
}

func (o *outputs) checks() []metrics.Check {
	out := []metrics.Check{
		{Check: "zero gradients", Fine: o.flat == 0, Why: fmt.Sprintf("the gradient of the cross-entropy is exactly zero on %d of %d images", o.flat, o.images)},
		{Check: "randomness", Fine: o.apart <= alike, Why: fmt.Sprintf("the same images twice differ by %.2g of the largest logit", o.apart)},
		{Check: "outputs", Fine: true, Why: "they are logits"},
	}
	if !out[0].Fine {
		out[0].Why += ": attacks on that loss stay where they are; the margin's (pgd-N-margin) may not"
	}
	if !out[1].Fine {
		out[1].Why += ": the network draws random numbers, which attacks must average over (autoattack-rand)"
	}
	switch {
	case o.notProbability == 0:
		out[2].Fine, out[2].Why = false, "they are probabilities: their gradients vanish where the network is sure; take the logits"
	case o.notLog == 0:
		out[2].Why = "they are log-probabilities, logits less one number an image: cross-entropy, margin and DLR are those of the logits"
	}
	return out
}
