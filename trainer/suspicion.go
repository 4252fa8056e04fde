package trainer

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"regexp"
	"slices"

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

// suspicion is the look for such signs beside an evaluation: of a model that is judged by attacks in images of so many pixels.
type suspicion struct {
	of      described
	attacks []asked
	options EvalOptions
	pixels  int
}

// own is the PGD that the checks go out from: the first plain one that the model is judged by. judge says that there is one, or that nothing else judges it.
func (q suspicion) own() (name string, judge bool) {
	for _, a := range q.attacks {
		if plainPGD.MatchString(a.name) {
			return a.name, true
		}
	}
	return "pgd-20", len(q.attacks) == 0
}

// groups are the attacks of the checks.
func (q suspicion) groups() ([]group, error) {
	base, _ := q.own()
	o, radius := q.options, cmp.Or(q.options.Epsilon, q.of.attack.Epsilon)
	own, err := q.of.attackIn(base, o, radius)
	if err != nil {
		return nil, err
	}
	norm := own.settings.Norm
	if norm == adversarial.L1 {
		return nil, &InputError{fmt.Errorf("--suspicion looks at Linf and L2 alone: leave it out with L1")}
	}
	names := []string{"fgsm"}
	if q.boxed() < 0 {
		names = append(names, fmt.Sprintf("square-%d", suspectQuery))
	}
	o.StepSize, o.Restarts = 0, 0
	others := group{name: otherAttacks, parts: own.parts, apart: true, limit: suspectImages}
	for _, name := range append(names, fmt.Sprintf("pgd-%d", suspectMore*own.steps())) {
		a, err := q.of.attackIn(name, o, radius)
		if err != nil {
			return nil, err
		}
		others.parts = append(others.parts, a.parts...)
	}
	everywhere := 1.0
	if norm == adversarial.L2 {
		everywhere = math.Sqrt(float64(q.pixels))
	}
	far, err := q.of.attackIn("pgd-100", o, everywhere)
	return []group{others, {name: farAttack, parts: far.parts, apart: true, limit: suspectImages}}, err
}

// passes are the network's, on an image that stands the checks, for estimates.
func (q suspicion) passes() float64 {
	base, _ := q.own()
	steps := asked{name: base}.steps()
	return float64((1+suspectMore)*steps + 1 + suspectQuery/3 + 100)
}

// boxed is the set among the attacks that ends in the black-box attack square, -1 where there is none.
func (q suspicion) boxed() int {
	return slices.IndexFunc(q.attacks, func(a asked) bool { return a.isAutoAttack() && a.parts[len(a.parts)-1].Name() == "square" })
}

// judged are the checks that go by what attacks broke, on top of those that the model is judged by.
func (q suspicion) judged(e *evaluation) []metrics.Check {
	g := e.group(otherAttacks)
	looked := e.standing(g, 0)
	fresh := func(parts ...int) (n int) {
		for _, i := range looked {
			if e.worst(i) && slices.ContainsFunc(parts, func(p int) bool { return e.broken(e.tried[g][p], i) }) {
				n++
			}
		}
		return n
	}
	check := func(name, attack string, broken, images int, most float64, means string) metrics.Check {
		c := metrics.Check{Check: name, Fine: few(broken, images, most), Why: fmt.Sprintf("%s breaks %d of %d images on top of what came before", attack, broken, images)}
		if !c.Fine {
			c.Why += ": " + means
		}
		return c
	}
	base, judge := q.own()
	names := make([]string, len(e.groups[g].parts))
	for p, a := range e.groups[g].parts {
		names[p] = a.Name()
	}
	last := len(names) - 1
	out := []metrics.Check{check("one step", names[1], fresh(1), len(looked), tolerated, base+" should find what a single step finds: its gradients mislead")}
	if box := q.boxed(); box >= 0 {
		list := e.after(box)
		square := list[len(list)-1]
		out = append(out, check("black box", square.Attack, square.Broken, len(e.labels), toleratedBox, "an attack without gradients should find nothing that those with gradients miss"))
	} else {
		out = append(out, check("black box", names[2], fresh(2), len(looked), tolerated, "an attack without gradients should find little that "+base+" misses: judge the model by autoattack"))
	}
	if judge {
		out = append(out, check("more steps", names[last], fresh(last), len(looked), tolerated, base+" has not converged, and its accuracy is too high: take more steps, or autoattack"))
	} else {
		out = append(out, check("more steps", base+" or "+names[last], fresh(0, last), len(looked), tolerated, "plain PGD finds what the attacks miss that the model is judged by: add it to them"))
	}
	return append(out, farCheck(e))
}

// few says that an attack's images are no sign: a share of them that is tolerated, or one.
func few(broken, images int, share float64) bool {
	return float64(broken) <= max(1, share*float64(images))
}

// constant says that the network sees one class in all images as they are: then nothing can change its mind, and there is nothing to suspect.
func (e *evaluation) constant() bool {
	return !slices.ContainsFunc(e.clean.Prediction, func(class int) bool { return class != e.clean.Prediction[0] })
}

// farCheck is on the attack that may go anywhere, which must find an image of another class.
func farCheck(e *evaluation) metrics.Check {
	g := e.group(farAttack)
	all, left := len(e.standing(g, 0)), len(e.standing(g, 1))
	_, epsilon := e.groups[g].parts[0].Ball()
	c := metrics.Check{Check: "any image", Fine: few(left, all, toleratedFar), Why: fmt.Sprintf("with epsilon %.4g, which allows any image, %d of %d stand", epsilon, left, all)}
	if !c.Fine {
		c.Why += ": the gradients do not lead to the images of other classes"
	}
	return c
}

// checks are all of them, those on the network's outputs and gradients too, which need no attack, once the evaluation has been run.
func (q suspicion) checks(ctx context.Context, c *crew, e *evaluation) ([]metrics.Check, error) {
	ids := e.standing(e.group(otherAttacks), 0)
	if len(ids) == 0 {
		return q.judged(e), nil
	}
	var total outputs
	err := c.spread(ctx, chunked(ids, e.chunk), func(_ context.Context, w *worker, ids []int64) (func() error, error) {
		o, err := e.outputs(w, ids)
		return func() error {
			total.add(o)
			return nil
		}, err
	})
	all := append(q.judged(e), total.checks()...)
	for i, c := range all {
		if e.constant() && (c.Check == "any image" || c.Check == "zero gradients") {
			all[i] = metrics.Check{Check: c.Check, Fine: true, Why: "the network sees one class in all images"}
		}
	}
	return all, err
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

func (e *evaluation) outputs(w *worker, ids []int64) (o outputs, err error) {
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
		o.look(first[k*e.classes:(k+1)*e.classes], again[k*e.classes:(k+1)*e.classes])
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
