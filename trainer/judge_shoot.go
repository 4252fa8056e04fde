package trainer

import (
	"context"
	"fmt"

	"rapt/adversarial"
	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// shot is a sight of what an attack returned.
type shot struct {
	sight
	step  int
	image []float32 // where it is wrong
}

// shoot runs an attack on images and sees for itself what the network makes of the outcome. The attack goes by the network with its batch norms folded,
// which is faster, and ends with an image as soon as that gets it wrong. Where the network as it is gets the outcome right all the same, the attack has
// stopped too early: it goes on from the beginning by the network as it is.
func (e *evaluation) shoot(ctx context.Context, w *worker, a adversarial.Attack, ids []int64, progress func(int, float64)) ([]shot, error) {
	out, early, err := e.fire(ctx, w, a, nn.Mode{Folded: nn.Fold(w.model.Module)}, ids, progress)
	if err != nil || len(early) == 0 {
		return out, err
	}
	again := make([]int64, len(early))
	for n, k := range early {
		again[n] = ids[k]
	}
	more, unbroken, err := e.fire(ctx, w, a, nn.Eval, again, progress)
	if err != nil {
		return nil, err
	}
	for _, n := range unbroken {
		if s := more[n]; !s.tied(w.s.Device()) {
			return nil, faultf("%s says that it fooled the network on image %d, which the network gets right (margin %.4g)", a.Name(), again[n], s.margin)
		}
	}
	for n, k := range early {
		out[k] = more[n]
	}
	return out, nil
}

// fire is shoot by the network in one mode. early are the places of the images that the attack says it broke, and that the network as it is gets right.
func (e *evaluation) fire(ctx context.Context, w *worker, a adversarial.Attack, mode nn.Mode, ids []int64, progress func(int, float64)) (out []shot, early []int, err error) {
	x, y := w.batch(w.data, ids)
	network := func(x torch.Tensor) torch.Tensor { return w.model.Forward(x, mode) }
	r, err := a.Run(ctx, network, adversarial.Batch{X: x, Y: y, IDs: ids}, e.seed, progress)
	if err != nil {
		return nil, nil, err
	}
	if len(r.Fooled) != len(ids) || len(r.Steps) != len(ids) || !r.Images.Defined() || r.Images.Size(0) != int64(len(ids)) {
		return nil, nil, faultf("%s returned another number of images than it was given", a.Name())
	}
	norm, epsilon := a.Ball()
	if err := inBall(a.Name(), norm, epsilon, r.Images, x, ids); err != nil {
		return nil, nil, err
	}
	seen, err := e.look(w, r.Images, ids)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", a.Name(), err)
	}
	pixels, err := r.Images.Float32s()
	if err != nil {
		return nil, nil, err
	}
	size := len(pixels) / len(ids)
	out = make([]shot, len(ids))
	for k, i := range ids {
		out[k] = shot{sight: seen[k], step: -1}
		if seen[k].class != int(e.labels[i]) {
			out[k].image = append([]float32{}, pixels[k*size:(k+1)*size]...)
			out[k].step = max(r.Steps[k], -1)
		} else if r.Fooled[k] {
			early = append(early, k)
		}
	}
	return out, early, nil
}

// inBall refuses images that are not numbers, or that left the ball or [0, 1], and names the first one.
func inBall(name string, norm adversarial.Norm, epsilon float64, x, x0 torch.Tensor, ids []int64) error {
	inside, err := adversarial.Inside(x, x0, norm, epsilon)
	if err != nil || inside {
		return err
	}
	for k, i := range ids {
		one, of := x.Narrow(0, int64(k), 1), x0.Narrow(0, int64(k), 1)
		if inside, err := adversarial.Inside(one, of, norm, epsilon); err != nil {
			return err
		} else if !inside {
			return faultf("%s returned an image %d that is not a number throughout, or not within %s %g of the original, or not in [0, 1]", name, i, norm, epsilon)
		}
	}
	return faultf("%s left the ball", name)
}
