package adversarial

import (
	"context"

	torch "rapt/cgo"
)

// Batch is images under attack.
type Batch struct {
	X   torch.Tensor // float32 [N, C, H, W] in [0, 1]
	Y   torch.Tensor // int64 [N], the right classes
	IDs []int64      // [N], each image's number in its data set: random numbers are keyed by it, so that no grouping changes them
}

// Result is what an attack made of a batch.
type Result struct {
	Images torch.Tensor // [N, C, H, W]: where Fooled an image that the network gets wrong, else the attack's best try
	Fooled []bool
	Steps  []int // the iteration that fooled the network first, 0 being the start; -1 where none did
}

// Attack looks for images inside a ball that a network gets wrong. Run's random numbers are a pure function of seed, the attack's
// name, the restart and an image's ID. It returns early with ctx's error, and calls progress, where that is set, with the images
// still standing and the share of its work that is done.
type Attack interface {
	Name() string // in reports, such as apgd-ce
	Ball() (norm Norm, epsilon float64)
	Run(ctx context.Context, f Logits, b Batch, seed uint64, progress func(standing int, done float64)) (Result, error)
}
