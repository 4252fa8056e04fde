package trainer

import (
	"encoding/binary"
	"math"

	torch "rapt/cgo"
	"rapt/trainer/config"
)

// augmentation changes training images at random, on the device: moved by up to crop pixels with black coming in, as by padding and
// cropping, mirrored, and with a black square of side cutout (DeVries and Taylor, arXiv 1708.04552) that may reach over the edge.
type augmentation struct {
	crop   int
	flip   bool
	cutout int
}

func newAugmentation(c config.Augment) *augmentation {
	if c == (config.Augment{}) {
		return nil
	}
	return &augmentation{c.Crop, c.Flip, c.Cutout}
}

// change is what happens to one image.
type change struct {
	down, right int // rows and columns in its frame that it is read from further on
	mirrored    bool
	holeY       int // the hole's centre
	holeX       int
}

// of draws image id's change: a pure function of seed, which stands for the run, the stage and the epoch, and of id.
func (a *augmentation) of(seed uint64, id int64, h, w int) change {
	state := seed ^ uint64(id)*0x9E3779B97F4A7C15
	below := func(n int) int { // splitmix64; the bias of the multiplication is below n/2^32
		state += 0x9E3779B97F4A7C15
		z := state
		z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
		z = (z ^ z>>27) * 0x94D049BB133111EB
		return int((z ^ z>>31) >> 32 * uint64(n) >> 32)
	}
	return change{down: below(2*a.crop+1) - a.crop, right: below(2*a.crop+1) - a.crop, mirrored: below(2) == 1 && a.flip, holeY: below(h), holeX: below(w)}
}

// apply is the images bytes, uint8 [N, C, H, W] with the numbers ids, changed, as float32 in [0, 1].
func (a *augmentation) apply(m *member, bytes torch.Tensor, ids []int64, seed uint64) torch.Tensor {
	n, h, w := int64(len(ids)), bytes.Size(2), bytes.Size(3)
	c := bytes.Size(1)
	row := a.draw(m.s, ids, seed, int(h), int(w))
	down, right, mirrored := row(0), row(1), row(2)
	y, x := m.s.Arange(h).To(torch.Float32).Reshape(1, h), m.s.Arange(w).To(torch.Float32).Reshape(1, w)
	// Where each pixel is read from: the frame is moved, and what is read is mirrored within it.
	fromY := y.Add(down)
	fromX := x.Add(mirrored.Mul(x.MulScalar(-2).AddScalar(float64(w - 1)))).Add(right)
	seen := within(fromY, 0, h).Reshape(n, h, 1).LogicalAnd(within(fromX, 0, w).Reshape(n, 1, w))
	if a.cutout > 0 {
		top, left := row(3).SubScalar(float64(a.cutout/2)), row(4).SubScalar(float64(a.cutout/2))
		hole := within(y.Sub(top), 0, int64(a.cutout)).Reshape(n, h, 1).LogicalAnd(within(x.Sub(left), 0, int64(a.cutout)).Reshape(n, 1, w))
		seen = seen.LogicalAnd(hole.LogicalNot())
	}
	from := fromY.Clamp(0, float64(h-1)).MulScalar(float64(w)).Reshape(n, h, 1).Add(fromX.Clamp(0, float64(w-1)).Reshape(n, 1, w)).To(torch.Int64)
	moved := bytes.Reshape(n, c, h*w).Gather(2, from.Reshape(n, 1, h*w).Expand(n, c, h*w)).Reshape(n, c, h, w)
	return m.pixels(moved.Mul(seen.Reshape(n, 1, h, w).To(torch.Uint8)))
}

// draw sends the images' changes to the device without waiting for it; row(i) is the i-th number of each, float32 [N, 1].
func (a *augmentation) draw(s *torch.Session, ids []int64, seed uint64, h, w int) (row func(i int64) torch.Tensor) {
	const numbers = 5
	n := int64(len(ids))
	block, data := s.Staging(numbers * n * 4)
	for i, id := range ids {
		if data == nil {
			break
		}
		one := a.of(seed, id, h, w)
		for j, v := range [numbers]int{one.down, one.right, 0, one.holeY, one.holeX} {
			if j == 2 && one.mirrored {
				v = 1
			}
			binary.NativeEndian.PutUint32(data[(j*len(ids)+i)*4:], math.Float32bits(float32(v)))
		}
	}
	all := block.Upload(torch.Float32, numbers, n)
	return func(i int64) torch.Tensor { return all.Narrow(0, i, 1).Reshape(n, 1) }
}

// within tells where lo <= t < hi.
func within(t torch.Tensor, lo, hi int64) torch.Tensor {
	return t.GeScalar(float64(lo)).LogicalAnd(t.LtScalar(float64(hi)))
}
