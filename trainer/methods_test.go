package trainer

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/adversarial"
	torch "rapt/cgo"
	"rapt/cgo/torchtest"
)

// tinyLoss is a loss of testdata/methods.json and its gradients for the two weights.
type tinyLoss struct {
	Loss         float64
	Grad1, Grad2 [][]float64
	W1, W2       [][]float64 // under AWP: where the gradient was taken
}

// tinyMethods is testdata/methods.json: what scripts/methods_reference.py made of a network x -> relu(x W1^T) W2^T.
type tinyMethods struct {
	Epsilon                                float64
	W1, W2, Mask1, X, Near, Uniform, Noise [][]float64
	XAdv                                   [][]float64 `json:"x_adv"`
	Y                                      []int64
	Losses, AWP                            map[string]tinyLoss
	TradesAttack                           [][]float64 `json:"trades_attack"`
	FGSM                                   [][]float64 `json:"fgsm_rs"`
	Free                                   struct {
		Loss  float64
		Noise [][]float64
	}
}

func readMethods(t *testing.T) (v tinyMethods) {
	t.Helper()
	text, err := os.ReadFile("testdata/methods.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &v))
	require.Len(t, v.Losses, 3)
	require.Len(t, v.AWP, 3)
	return v
}

func flat(rows [][]float64) (all []float64) {
	for _, row := range rows {
		all = append(all, row...)
	}
	return all
}

func tensorOf(s *torch.Session, rows [][]float64) torch.Tensor {
	return s.FromFloat64(flat(rows), int64(len(rows)), int64(len(rows[0]))).To(torch.Float32)
}

func tinyNet(w1, w2 torch.Tensor) adversarial.Logits {
	return func(x torch.Tensor) torch.Tensor {
		return x.Linear(w1, torch.Tensor{}).Relu().Linear(w2, torch.Tensor{})
	}
}

// sumOf is a method's loss, as a training step has it.
func sumOf(name string, clean, adv, y torch.Tensor, classes int64) torch.Tensor {
	switch name {
	case "trades":
		return tradesLoss(clean, adv, y, 6, 0)
	case "mart":
		return martLoss(clean, adv, y, y.Session().Zeros(y.Size(0), classes).Scatter(1, y.Reshape(-1, 1), 1), 5)
	}
	return adv.CrossEntropy(y, torch.ReduceSum, 0)
}

func inSession(t *testing.T, f func(s *torch.Session)) {
	t.Helper()
	require.NoError(t, torch.Run(torchtest.Device(), torch.Options{Threads: 1}, func(s *torch.Session) error {
		f(s)
		return s.Err()
	}))
}

func TestLossesAgainstPyTorch(t *testing.T) {
	v := readMethods(t)
	for name, want := range v.Losses {
		t.Run(name, func(t *testing.T) {
			inSession(t, func(s *torch.Session) {
				w1, w2 := tensorOf(s, v.W1).RequiresGrad_(true), tensorOf(s, v.W2).RequiresGrad_(true)
				net := tinyNet(w1, w2)
				loss := sumOf(name, net(tensorOf(s, v.X)), net(tensorOf(s, v.XAdv)), s.FromInt64(v.Y, int64(len(v.Y))), 4).DivScalar(float64(len(v.Y)))
				assert.InEpsilon(t, want.Loss, values(t, loss)[0], 1e-5)
				g := s.Grad(loss, w1, w2)
				assert.InDeltaSlice(t, flat(want.Grad1), values(t, g[0]), 1e-5)
				assert.InDeltaSlice(t, flat(want.Grad2), values(t, g[1]), 1e-5)
			})
		})
	}
}

// AWP's two gradients: one to move the weights along, one where they are then. Pruned weights do not move, and afterwards all are back.
func TestAWPAgainstPyTorch(t *testing.T) {
	v := readMethods(t)
	for name, want := range v.AWP {
		t.Run(name, func(t *testing.T) {
			inSession(t, func(s *torch.Session) {
				mask := tensorOf(s, v.Mask1)
				w1, w2 := tensorOf(s, v.W1).Mul(mask).RequiresGrad_(true), tensorOf(s, v.W2).RequiresGrad_(true)
				m := &member{s: s, params: []torch.Tensor{w1, w2}, grads: []torch.Tensor{w1.ZerosLike(), w2.ZerosLike()}}
				a := newWeightPerturbation(m, 0.01)
				a.hold(&masks{params: m.params[:1], masks: []torch.Tensor{mask}})
				before := values(t, w1, w2)
				net := tinyNet(w1, w2)
				gradient := func() float64 {
					loss := sumOf(name, net(tensorOf(s, v.X)), net(tensorOf(s, v.XAdv)), s.FromInt64(v.Y, int64(len(v.Y))), 4).DivScalar(float64(len(v.Y)))
					s.CopyLists_(m.grads, s.Grad(loss, w1, w2))
					return values(t, loss)[0]
				}
				gradient()
				a.apply(s)
				assert.InDeltaSlice(t, flat(want.W1), values(t, w1), 1e-6)
				assert.InDeltaSlice(t, flat(want.W2), values(t, w2), 1e-6)
				assert.InEpsilon(t, want.Loss, gradient(), 1e-5)
				assert.InDeltaSlice(t, flat(want.Grad1), values(t, m.grads[0]), 2e-5)
				assert.InDeltaSlice(t, flat(want.Grad2), values(t, m.grads[1]), 2e-5)
				a.restore(s)
				assert.Equal(t, before, values(t, w1, w2))
			})
		})
	}
}

func TestAttacksOfMethodsAgainstPyTorch(t *testing.T) {
	v := readMethods(t)
	inSession(t, func(s *torch.Session) {
		net := tinyNet(tensorOf(s, v.W1).RequiresGrad_(true), tensorOf(s, v.W2).RequiresGrad_(true))
		x, y := tensorOf(s, v.X), s.FromInt64(v.Y, int64(len(v.Y)))

		at := tensorOf(s, v.Near)
		adversarial.PGD{Epsilon: v.Epsilon, StepSize: 0.06, Steps: 5}.AscendKL(net, at, x)
		assert.InDeltaSlice(t, flat(v.TradesAttack), values(t, at), 1e-6)

		p := &pipeline{cfg: Settings(t, t.TempDir(), "training.method=fgsm_rs", "adversary.epsilon=0.2"), attack: adversarial.PGD{Epsilon: v.Epsilon, StepSize: 0.01, Steps: 9}}
		o := p.objectiveOf(&stage{})
		assert.Equal(t, adversarial.PGD{Epsilon: v.Epsilon, StepSize: 1.25 * v.Epsilon, Steps: 1, RandomStart: true}, o.attack)
		at = tensorOf(s, v.Uniform)
		o.attack.Ascend(net, at, x, y)
		assert.InDeltaSlice(t, flat(v.FGSM), values(t, at), 1e-6)

		noise := tensorOf(s, v.Noise)
		moving := noise.Detach().RequiresGrad_(true)
		loss := net(x.Add(moving).Clamp(0, 1)).CrossEntropy(y, torch.ReduceSum, 0)
		assert.InEpsilon(t, v.Free.Loss, values(t, loss)[0]/float64(len(v.Y)), 1e-5)
		moveNoise(noise, s.Grad(loss, moving)[0], v.Epsilon)
		assert.InDeltaSlice(t, flat(v.Free.Noise), values(t, noise), 1e-6)
	})
}

// The losses in float64, written out: of logits [n][4].
func plainLoss(name string, clean, adv [][]float64, y []int) (loss float64) {
	logs := func(row []float64) []float64 {
		sum := 0.0
		for _, v := range row {
			sum += math.Exp(v)
		}
		out := make([]float64, len(row))
		for i, v := range row {
			out[i] = v - math.Log(sum)
		}
		return out
	}
	for i := range y {
		p, q := logs(clean[i]), logs(adv[i])
		kl, next := 0.0, 0.0
		for k := range p {
			kl += math.Exp(p[k]) * (p[k] - q[k])
			if k != y[i] {
				next = max(next, math.Exp(q[k]))
			}
		}
		if name == "trades" {
			loss += -p[y[i]] + 6*kl
		} else {
			loss += -q[y[i]] - math.Log(1.0001-next) + 5*kl*(1-math.Exp(p[y[i]]))
		}
	}
	return loss
}

// Gradients for a network's weights against central differences in float64. Logits may be large: nothing overflows then.
func TestLossesAgainstDifferences(t *testing.T) {
	const n, in, classes = 5, 3, 4
	r := rand.New(rand.NewPCG(1, 2))
	draw := func(size int, scale float64) []float64 {
		out := make([]float64, size)
		for i := range out {
			out[i] = float64(float32(scale * r.NormFloat64()))
		}
		return out
	}
	x, adv, y := draw(n*in, 1), draw(n*in, 1), []int{0, 3, 1, 2, 3}
	w := draw(classes*in, 1.5)
	logits := func(x []float64) [][]float64 {
		out := make([][]float64, n)
		for i := range out {
			out[i] = make([]float64, classes)
			for c := range out[i] {
				for j := range in {
					out[i][c] += w[c*in+j] * x[i*in+j]
				}
			}
		}
		return out
	}
	inSession(t, func(s *torch.Session) {
		weight := s.FromFloat64(w, classes, in).To(torch.Float32).RequiresGrad_(true)
		of := func(x []float64) torch.Tensor {
			return s.FromFloat64(x, n, in).To(torch.Float32).Linear(weight, torch.Tensor{})
		}
		for _, name := range []string{"trades", "mart"} {
			loss := sumOf(name, of(x), of(adv), s.FromInt64([]int64{0, 3, 1, 2, 3}, n), classes)
			assert.InEpsilon(t, plainLoss(name, logits(x), logits(adv), y), values(t, loss)[0], 1e-5, name)
			got := values(t, s.Grad(loss, weight)[0])
			for i := range w {
				const h = 1e-5
				was := w[i]
				w[i] = was + h
				up := plainLoss(name, logits(x), logits(adv), y)
				w[i] = was - h
				down := plainLoss(name, logits(x), logits(adv), y)
				w[i] = was
				assert.InDelta(t, (up-down)/(2*h), got[i], 1e-4*(1+math.Abs(got[i])), "%s, weight %d", name, i)
			}
		}
		for _, name := range []string{"trades", "mart"} { // a probability of exp(-400) is 0 in float32, and its logarithm is not
			far := s.FromFloat32([]float32{200, -200, 0, 0, -200, 200, 0, 0}, 2, 4).RequiresGrad_(true)
			near := s.FromFloat32([]float32{-200, 200, 0, 0, 200, -200, 0, 0}, 2, 4).RequiresGrad_(true)
			for _, g := range s.Grad(sumOf(name, far, near, s.FromInt64([]int64{0, 0}, 2), 4), far, near) {
				for _, v := range values(t, g) {
					assert.False(t, math.IsNaN(v) || math.IsInf(v, 0), name)
				}
			}
		}
	})
}
