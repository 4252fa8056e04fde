package main

import (
	"rapt/admm"
	torch "rapt/cgo"
)

const pruneRatio = 0.9

// resnetShapes are the convolutions and the linear layer of a ResNet-18 with 4w channels at first: 11 million weights for w = 16.
func resnetShapes(w int64) [][]int64 {
	shapes := [][]int64{{4 * w, 3, 3, 3}}
	in := 4 * w
	for i := range 4 {
		out := 4 * w << i
		shapes = append(shapes, []int64{out, in, 3, 3}, []int64{out, out, 3, 3}, []int64{out, out, 3, 3}, []int64{out, out, 3, 3})
		if in != out {
			shapes = append(shapes, []int64{out, in, 1, 1})
		}
		in = out
	}
	return append(shapes, []int64{10, in})
}

// onWeights gives f one of our sessions with random weights of a ResNet-18, and the reference's request for them.
func (b *bench) onWeights(op string, width int64, f func(s *torch.Session, weights []torch.Tensor, c contest) error) error {
	shapes := resnetShapes(width)
	options := torch.Options{Threads: 1}
	return torch.Run(torch.CPU, options, func(s *torch.Session) error {
		g := s.NewGenerator(1)
		var weights []torch.Tensor
		for _, shape := range shapes {
			weights = append(weights, s.RandN(g, shape...))
		}
		return f(s, weights, contest{request: request{"op": op, "shapes": shapes, "ratio": pruneRatio}, tries: b.onCPU()})
	})
}

// onCPU are the reference's settings for work on the host, which its threads do not share.
func (b *bench) onCPU() []setting {
	var out []setting
	for i, c := range b.children {
		out = append(out, setting{name: c.allocator, child: c, usual: i == 0})
	}
	return out
}

// resnet is a ResNet-18's width multiplier.
type resnet int64

// measureProjection fills the row of projecting every layer once, without ADMM.
func (w resnet) measureProjection(b *bench, r *row) error {
	return b.onWeights("numpy-percentile", int64(w), func(s *torch.Session, weights []torch.Tensor, c contest) error {
		for _, w := range weights {
			r.GB += 2 * 4 * float64(w.Numel()) / 1e9 // each weight read and its projection written
		}
		project := func() error {
			s.Do(func() {
				for _, w := range weights {
					admm.Project(w, admm.Irregular, pruneRatio)
				}
			})
			return s.Err()
		}
		r.Note = join(r.Note, "ours: one thread, as a run projects")
		return b.compare(r, func(n int) ([]float64, error) { return repeat(n, project) }, c, b.rounds, 5)
	})
}

// measureUpdate fills the row of moving Z and U of every layer once.
func (w resnet) measureUpdate(b *bench, r *row) error {
	return b.onWeights("admm-update", int64(w), func(s *torch.Session, weights []torch.Tensor, c contest) error {
		var layers []admm.Layer
		for _, w := range weights {
			layers = append(layers, admm.Layer{Weight: w, Ratio: pruneRatio})
			r.GB += 5 * 4 * float64(w.Numel()) / 1e9 // W, Z and U read, Z and U written
		}
		state := admm.New(s, layers, admm.Options{Type: admm.Irregular, Rho: 1e-3, RhoGrowth: 1})
		update := func() error {
			_, err := state.Update()
			return err
		}
		r.Note = join(r.Note, "ours: one thread, as a run updates")
		return b.compare(r, func(n int) ([]float64, error) { return repeat(n, update) }, c, b.rounds, 5)
	})
}
