package adversarial

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/rand/v2"

	torch "rapt/cgo"
)

// stream is the random numbers of one image in one restart of one attack: they depend on nothing else, so that no grouping of
// images into batches, workers or devices changes them.
func stream(seed uint64, attack string, restart int, id int64) *rand.Rand {
	key := binary.LittleEndian.AppendUint64(nil, seed)
	key = binary.LittleEndian.AppendUint64(key, uint64(restart))
	key = binary.LittleEndian.AppendUint64(key, uint64(id))
	return rand.New(rand.NewChaCha8(sha256.Sum256(append(key, attack...))))
}

// uniform fills out from [-1, 1).
func uniform(out []float32, r *rand.Rand) {
	for i := range out {
		out[i] = 2*r.Float32() - 1
	}
}

// normal fills out from the standard normal distribution.
func normal(out []float32, r *rand.Rand) {
	for i := range out {
		out[i] = float32(r.NormFloat64())
	}
}

// sign is 1 or -1, each at one half.
func sign(r *rand.Rand) float32 {
	if r.Uint64()>>63 == 0 {
		return -1
	}
	return 1
}

// inBall fills out with a point drawn evenly from the ball of radius eps: of Linf each value by itself; of L2 a direction, and the
// radius U^(1/d) that fills d dimensions evenly; of L1 the same, the direction being of exponential magnitudes and random signs.
func inBall(out []float32, n Norm, eps float64, r *rand.Rand) {
	if n == Linf {
		uniform(out, r)
		for i := range out {
			out[i] *= float32(eps)
		}
		return
	}
	var length float64
	for i := range out {
		v := r.NormFloat64()
		if n == L1 {
			v = r.ExpFloat64() * float64(sign(r))
		}
		out[i] = float32(v)
		if n == L1 {
			length += math.Abs(v)
		} else {
			length += v * v
		}
	}
	if n == L2 {
		length = math.Sqrt(length)
	}
	scale := float32(eps * math.Pow(r.Float64(), 1/float64(len(out))) / max(length, 1e-12))
	for i := range out {
		out[i] *= scale
	}
}

// noise has x's shape; draw fills each image's values from its own stream.
func (t *trial) noise(restart int, draw func(out []float32, r *rand.Rand)) torch.Tensor {
	shape := t.x.Shape()
	n := len(t.rows)
	values := make([]float32, t.x.Numel())
	each := len(values) / max(n, 1)
	for i, row := range t.rows {
		draw(values[i*each:(i+1)*each], stream(t.seed, t.name, restart, t.ids[row]))
	}
	return t.s.FromFloat32(values, shape...)
}
