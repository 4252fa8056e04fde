package trainer

import (
	"cmp"
	"errors"
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"

	"rapt/adversarial"
	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// objective is the loss that a stage minimises.
type objective struct {
	method         string          // of training.method; a stage may be natural whatever that is
	attack         adversarial.PGD // makes the images to train on; natural has none, and free moves its noise instead
	attackTrain    bool            // batch norm in training mode while attacking, the original's way
	labelSmoothing float64
	mixupAlpha     float64
	augment        *augmentation       // of the images; nil: as they are
	beta           float64             // of trades and mart
	replays        int                 // of free: updates on a batch
	awp            *weightPerturbation // nil where the gradient is taken at the weights themselves
	short          bool                // computed in bfloat16; weights, statistics, losses and gradients stay float32
}

func (o *objective) natural() bool { return o.method == "natural" }

// inputs are what the device's part of a step starts from: all that the host chose, drew or copied for it.
type inputs struct {
	x, y   torch.Tensor
	target torch.Tensor // y, or what mixup makes of it
	start  torch.Tensor // of the attack, and then its result; absent where there is none
}

var errNotFinite = errors.New("the loss is not a finite number")

// part is a member's part of a step.
type part struct {
	index   []int64 // the images
	next    []int64 // those of the step after
	total   int     // images in the step's batch
	seed    uint64  // of the step's random numbers
	augment uint64  // seed of the epoch's augmentation
}

// gradient leaves in m.grads the gradient of the mean loss over a batch, as far as the member's part makes it up, and adds the
// part's loss and right answers to m.sums.
func (m *member) gradient(o *objective, d *images, of part) error {
	if m.own != nil {
		m.own.moved = rows{int64(of.total * m.id / m.of), int64(len(of.index))}
	}
	if len(of.index) == 0 {
		m.s.ScaleList_(m.grads, 0)
		return nil
	}
	in := m.prepare(o, d, of)
	m.fetch(d, of.next)
	if m.recorder != nil {
		return m.recorder.step(m, o, in, of.total)
	}
	return m.compute(o, in, of.total)
}

// prepare is the part of a step that draws numbers or asks the host.
func (m *member) prepare(o *objective, d *images, of part) (in inputs) {
	m.gen.Seed(of.seed)
	if o.augment == nil {
		in.x, in.y = m.batch(d, of.index)
	} else {
		var bytes torch.Tensor
		bytes, in.y = m.bytes(d, of.index)
		in.x = o.augment.apply(m, bytes, of.index, of.augment)
	}
	in.target = in.y
	if o.mixupAlpha > 0 {
		in.x, in.target = m.mixup(o.mixupAlpha, in.x, in.y, of.seed)
	}
	in.start = o.begins(in.x, m.gen)
	return in
}

// compute is the rest: work for the device alone, the same from step to step but for what the tensors hold. in.start is
// scratch afterwards. The member has the whole batch where there is AWP.
func (m *member) compute(o *objective, in inputs, total int) error {
	m.cast(o, func() { m.perturb(o, in) })
	if o.awp == nil {
		return m.learn(o, in, total, true)
	}
	if err := m.look(o, in, total); err != nil {
		return err
	}
	o.awp.apply(m.s)
	err := m.learn(o, in, total, true)
	o.awp.restore(m.s)
	return err
}

// cast runs f in the precision of training steps.
func (m *member) cast(o *objective, f func()) {
	if !o.short {
		f()
		return
	}
	m.s.Autocast(torch.BFloat16, f)
}

// learn leaves the loss's gradient in m.grads. Where the step is meant, and not only a look at the loss round the weights, it adds to m.sums
// and moves free's noise.
func (m *member) learn(o *objective, in inputs, total int, meant bool) (err error) {
	var noise, loss, logits torch.Tensor
	wrt := m.params
	if o.method == "free" {
		noise = m.noiseOf(in.x.Size(0), total).Detach().RequiresGrad_(true)
		wrt = append(slices.Clone(wrt), noise)
	}
	var grads []torch.Tensor
	m.cast(o, func() {
		loss, logits = m.loss(o, in, noise)
		if !m.s.Device().IsCUDA() { // on a GPU that would wait for it; there the sums tell, every log_every steps
			if v, e := loss.Item(); e == nil && (math.IsNaN(v) || math.IsInf(v, 0)) {
				err = errNotFinite
				return
			}
		}
		grads = m.s.Grad(loss.DivScalar(float64(total)), wrt...)
	})
	if err != nil || m.s.Err() != nil {
		return cmp.Or(err, m.s.Err())
	}
	m.s.CopyLists_(m.grads, grads[:len(m.params)])
	if !meant {
		return nil
	}
	m.s.NoGrad(func() {
		if o.method == "free" {
			moveNoise(noise.Detach(), grads[len(m.params)], o.attack.Epsilon)
		}
		share := 1 / float64(max(1, o.replays)) // of the batch's replays, which count as one
		right := logits.Argmax(1).Eq(in.y).Sum()
		m.sums.Narrow(0, 0, 1).Add_(loss.Detach(), share)
		m.sums.Narrow(0, 1, 1).Add_(right, share)
	})
	return nil
}

// right counts the images that are right as they are, in evaluation mode.
func (m *member) right(d *images, index []int64) (n float64, err error) {
	m.s.NoGrad(func() {
		m.s.Do(func() {
			x, y := m.batch(d, index)
			n, err = m.model.Forward(x, nn.Eval).Argmax(1).Eq(y).Sum().Item()
		})
	})
	return n, err
}

// cleanAccuracy is that of a step's images as they are. Member 0 takes no more of them at once than its part of the step.
func (p *pipeline) cleanAccuracy(ids []int64) (float64, error) {
	pieces := 1
	if p.team.apart {
		pieces = len(p.team.members)
	}
	right := 0.0
	for i := range pieces {
		n, err := p.team.members[0].right(p.train, shard(ids, i, pieces))
		if err != nil {
			return 0, err
		}
		right += n
	}
	return right / float64(len(ids)), nil
}

// mixup blends each image and its one-hot label with those of another of the shard, by a share drawn from
// Beta(alpha, alpha) for the shard (Zhang et al., arXiv 1710.09412). Batches are in random order, so the other
// one is taken from the shard's far end.
func (m *member) mixup(alpha float64, x, y torch.Tensor, seed uint64) (mixed, target torch.Tensor) {
	n := y.Size(0)
	backwards := m.s.Full(float64(n-1), torch.Int64, 1).Sub(m.s.Arange(n))
	share := distuv.Beta{Alpha: alpha, Beta: alpha, Src: rand.NewPCG(seed, 1)}.Rand()
	blend := func(a torch.Tensor) torch.Tensor {
		return a.MulScalar(share).Add_(a.IndexSelect(0, backwards), 1-share)
	}
	return blend(x), blend(m.oneHot(y))
}

func (m *member) oneHot(y torch.Tensor) torch.Tensor {
	n := y.Size(0)
	return m.s.Zeros(n, int64(m.model.Spec.Classes)).Scatter(1, y.Reshape(n, 1), 1)
}

// shard is the member's part of a batch: contiguous, the sizes differing by one at most.
func shard(batch []int64, id, n int) []int64 {
	return batch[len(batch)*id/n : len(batch)*(id+1)/n]
}
