package trainer

import (
	"errors"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/stat/distuv"

	"rapt/adversarial"
	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// objective is the loss that a stage minimises.
type objective struct {
	natural        bool            // on the images as they are
	attack         adversarial.PGD // else on what this makes of them
	attackTrain    bool            // batch norm in training mode while attacking, the original's way
	labelSmoothing float64
	mixupAlpha     float64
}

var errNotFinite = errors.New("the loss is not a finite number")

// gradient leaves in m.grads the gradient of the mean loss over a batch of total images, as far as the shard index
// makes it up, and adds the shard's loss and right answers to m.sums. seed fixes its random numbers.
func (m *member) gradient(o *objective, d *images, index []int64, total int, seed uint64) error {
	if len(index) == 0 {
		m.s.ScaleList_(m.grads, 0)
		return nil
	}
	m.gen.Seed(seed)
	x, y := m.batch(d, index)
	target := y
	if o.mixupAlpha > 0 {
		x, target = m.mixup(o.mixupAlpha, d, index, x, y, seed)
	}
	training := nn.Mode{Train: true, Generator: m.gen}
	if !o.natural {
		mode := nn.Mode{Folded: nn.Fold(m.model.Module)}
		if o.attackTrain {
			mode = training
		}
		forward := func(x torch.Tensor) torch.Tensor { return m.model.Forward(x, mode) }
		x = o.attack.Perturb(forward, x, target, m.gen)
	}
	logits := m.model.Forward(x, training)
	loss := logits.CrossEntropy(target, torch.ReduceSum, o.labelSmoothing)
	if !m.s.Device().IsCUDA() { // on a GPU that would wait for it; there the sums tell, every log_every steps
		if v, err := loss.Item(); err == nil && (math.IsNaN(v) || math.IsInf(v, 0)) {
			return errNotFinite
		}
	}
	m.s.CopyLists_(m.grads, m.s.Grad(loss.DivScalar(float64(total)), m.params...))
	m.s.NoGrad(func() {
		right := logits.Argmax(1).Eq(y).Sum()
		m.sums.Narrow(0, 0, 1).Add_(loss.Detach(), 1)
		m.sums.Narrow(0, 1, 1).Add_(right, 1)
	})
	return nil
}

// cleanAccuracy is the share of the images that are right as they are, in evaluation mode.
func (m *member) cleanAccuracy(d *images, index []int64) (share float64, err error) {
	m.s.NoGrad(func() {
		m.s.Do(func() {
			x, y := m.batch(d, index)
			share, err = m.model.Forward(x, nn.Eval).Argmax(1).Eq(y).Sum().Item()
		})
	})
	return share / float64(len(index)), err
}

// mixup blends each image and its one-hot label with those of another of the shard, by a share drawn from
// Beta(alpha, alpha) for the shard (Zhang et al., arXiv 1710.09412). Batches are in random order, so the other
// one is taken from the shard's far end.
func (m *member) mixup(alpha float64, d *images, index []int64, x, y torch.Tensor, seed uint64) (mixed, target torch.Tensor) {
	other := make([]int64, len(index))
	for i, id := range index {
		other[len(index)-1-i] = id
	}
	x2, y2 := m.batch(d, other)
	share := distuv.Beta{Alpha: alpha, Beta: alpha, Src: rand.NewPCG(seed, 1)}.Rand()
	blend := func(a, b torch.Tensor) torch.Tensor { return a.MulScalar(share).Add_(b, 1-share) }
	return blend(x, x2), blend(m.oneHot(y), m.oneHot(y2))
}

func (m *member) oneHot(y torch.Tensor) torch.Tensor {
	n := y.Size(0)
	return m.s.Zeros(n, int64(m.model.Spec.Classes)).Scatter(1, y.Reshape(n, 1), 1)
}

// shard is the member's part of a batch: contiguous, the sizes differing by one at most.
func shard(batch []int64, id, n int) []int64 {
	return batch[len(batch)*id/n : len(batch)*(id+1)/n]
}
