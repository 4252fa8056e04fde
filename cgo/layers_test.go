package torch_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
)

func TestLinear(t *testing.T) {
	session(t, func(s *torch.Session) {
		x := s.FromFloat64([]float64{1, 2, 3, -1, 0, 1}, 2, 3)
		w := s.FromFloat64([]float64{1, 0, 2, 0, 1, -1}, 2, 3)
		near(t, []float64{7, -1, 1, -1}, x.Linear(w, torch.Tensor{}), 0)
		near(t, []float64{17, 19, 11, 19}, x.Linear(w, s.FromFloat64([]float64{10, 20}, 2)), 0)
	})
	refused(t, "Linear", func(s *torch.Session) { s.Ones(2, 3).Linear(s.Ones(4, 2), torch.Tensor{}) })
	refused(t, "Linear", func(s *torch.Session) { s.Ones(2, 3).Linear(s.Ones(4, 3), s.Ones(5)) })
	refused(t, "Linear", func(s *torch.Session) { torch.Tensor{}.Linear(s.Ones(4, 3), torch.Tensor{}) })
}

func TestBatchNorm(t *testing.T) {
	const n, c, area, momentum, eps = 3, 2, 4, 0.1, 1e-5
	x, weight, bias := noise(21, n*c*area), []float64{1.5, -0.5}, []float64{0.25, 2}
	mean, variance := []float64{0.5, -1}, []float64{2, 0.5}
	each := func(f func(i, channel int)) {
		for i := range x {
			f(i, i/area%c)
		}
	}
	normal := func(mean, variance []float64) []float64 {
		y := make([]float64, len(x))
		each(func(i, k int) { y[i] = (x[i]-mean[k])/math.Sqrt(variance[k]+eps)*weight[k] + bias[k] })
		return y
	}
	bm, bv := make([]float64, c), make([]float64, c) // of the batch
	each(func(i, k int) { bm[k] += x[i] / (n * area) })
	each(func(i, k int) { bv[k] += (x[i] - bm[k]) * (x[i] - bm[k]) / (n * area) })
	rm, rv := make([]float64, c), make([]float64, c) // what the running ones become
	for k := range c {
		rm[k] = (1-momentum)*mean[k] + momentum*bm[k]
		rv[k] = (1-momentum)*variance[k] + momentum*bv[k]*n*area/(n*area-1)
	}
	session(t, func(s *torch.Session) {
		in := s.FromFloat64(x, n, c, 2, 2)
		w, b := s.FromFloat64(weight, c), s.FromFloat64(bias, c)
		m, v := s.FromFloat64(mean, c), s.FromFloat64(variance, c)
		near(t, normal(mean, variance), in.BatchNorm(w, b, m, v, false, momentum, eps), 1e-12, "evaluation")
		near(t, mean, m, 0, "evaluation moves nothing")
		near(t, variance, v, 0, "evaluation moves nothing")
		near(t, normal(bm, bv), in.BatchNorm(w, b, m, v, true, momentum, eps), 1e-12, "training")
		near(t, rm, m, 1e-14, "running mean")
		near(t, rv, v, 1e-14, "running variance, unbiased")
		near(t, normal(bm, bv), in.BatchNorm(w, b, torch.Tensor{}, torch.Tensor{}, true, momentum, eps), 1e-12, "no running statistics")

		flat := s.FromFloat64([]float64{1, 3}, 2, 1)
		near(t, []float64{-1 / math.Sqrt(1+eps), 1 / math.Sqrt(1+eps)},
			flat.BatchNorm(torch.Tensor{}, torch.Tensor{}, torch.Tensor{}, torch.Tensor{}, true, momentum, eps), 1e-14, "[N, C]")
	})
	refused(t, "BatchNorm", func(s *torch.Session) {
		s.Ones(4, 2).BatchNorm(s.Ones(3), s.Ones(3), s.Zeros(3), s.Ones(3), true, 0.1, 1e-5)
	})
	refused(t, "BatchNorm", func(s *torch.Session) {
		s.Ones(4, 2).BatchNorm(s.Ones(2), s.Ones(2), torch.Tensor{}, torch.Tensor{}, false, 0.1, 1e-5)
	})
	err := refused(t, "BatchNorm", func(s *torch.Session) {
		s.Ones(1, 2).BatchNorm(s.Ones(2), s.Ones(2), s.Zeros(2), s.Ones(2), true, 0.1, 1e-5)
	})
	require.ErrorContains(t, err, "one value per channel")
}

func TestPooling(t *testing.T) {
	session(t, func(s *torch.Session) {
		x := s.FromFloat64([]float64{
			1, 2, 3, 4,
			5, 6, 7, 8,
			-1, -2, -3, -4,
			-5, -6, -7, -8}, 1, 1, 4, 4)
		near(t, []float64{6, 8, -1, -3}, x.MaxPool2d(2, 2, 0), 0)
		near(t, []float64{6, 7, 8, 6, 7, 8, -1, -2, -3}, x.MaxPool2d(2, 1, 0), 0)
		near(t, []float64{1, 3, 4, 5, 7, 8, -5, -6, -8}, x.MaxPool2d(2, 2, 1), 0, "padding never wins")
		near(t, []float64{3.5, 5.5, -3.5, -5.5}, x.AvgPool2d(2, 2, 0), 0)
		near(t, []float64{0.25, 1.25, 1, 1, 2, 1, -1.25, -3.25, -2}, x.AvgPool2d(2, 2, 1), 0, "padding counts as zeros")
		near(t, []float64{0}, x.AdaptiveAvgPool2d(1), 0)
		near(t, []float64{3.5, 5.5, -3.5, -5.5}, x.AdaptiveAvgPool2d(2), 0)
		near(t, []float64{-1}, x.Narrow(2, 2, 2).MaxPool2d(2, 2, 0).Narrow(3, 0, 1), 0)
	})
	refused(t, "MaxPool2d", func(s *torch.Session) { s.Ones(1, 1, 4, 4).MaxPool2d(0, 1, 0) })
	refused(t, "MaxPool2d", func(s *torch.Session) { s.Ones(1, 1, 4, 4).MaxPool2d(2, 0, 0) })
	refused(t, "MaxPool2d", func(s *torch.Session) { s.Ones(1, 1, 4, 4).MaxPool2d(2, 2, 2) })
	refused(t, "MaxPool2d", func(s *torch.Session) { s.Ones(1, 1, 4, 4).MaxPool2d(5, 1, 0) })
	refused(t, "AvgPool2d", func(s *torch.Session) { s.Ones(1, 1, 4, 4).AvgPool2d(0, 1, 0) })
	refused(t, "AvgPool2d", func(s *torch.Session) { s.Ones(1, 1, 4, 4).AvgPool2d(2, 0, 0) })
	refused(t, "AvgPool2d", func(s *torch.Session) { s.Ones(4).AvgPool2d(2, 2, 0) })
	refused(t, "AdaptiveAvgPool2d", func(s *torch.Session) { s.Ones(1, 1, 4, 4).AdaptiveAvgPool2d(-1) })
}

func TestDropout(t *testing.T) {
	session(t, func(s *torch.Session) {
		g := s.NewGenerator(7)
		x := s.Full(3, torch.Float64, 100, 100).RequiresGrad_(true)
		y := x.Dropout(0.25, g)
		zeros := 0.0
		for _, v := range values(t, y.Detach()) {
			if v == 0 {
				zeros++
			} else {
				require.InDelta(t, 4, v, 1e-12)
			}
		}
		require.InDelta(t, 0.25, zeros/1e4, 0.02)
		grad := s.Grad(y.Sum(), x)[0]
		near(t, values(t, y.Detach().DivScalar(3)), grad, 1e-12, "the same mask backward")
		near(t, []float64{3, 3}, x.Detach().Narrow(0, 0, 1).Narrow(1, 0, 2).Dropout(0, g), 0)
		require.False(t, same(t, x.Detach().Dropout(0.25, g), y.Detach()), "another mask each time")
	})
	refused(t, "Dropout", func(s *torch.Session) { s.Ones(2).Dropout(1, s.NewGenerator(1)) })
	refused(t, "Dropout", func(s *torch.Session) { s.Ones(2).Dropout(-0.1, s.NewGenerator(1)) })
	refused(t, "Dropout", func(s *torch.Session) { s.Ones(2).Dropout(math.NaN(), s.NewGenerator(1)) })
	refused(t, "Dropout", func(s *torch.Session) { s.Ones(2).Dropout(0.5, nil) })
}

// crossEntropy is the loss of each row of logits against probabilities q.
func crossEntropy(logits, q []float64, classes int) []float64 {
	var out []float64
	for row := 0; row < len(logits); row += classes {
		sum, loss := 0.0, 0.0
		for _, v := range logits[row : row+classes] {
			sum += math.Exp(v)
		}
		for i := row; i < row+classes; i++ {
			loss -= q[i] * (logits[i] - math.Log(sum))
		}
		out = append(out, loss)
	}
	return out
}

func total(v []float64) (sum float64) {
	for _, x := range v {
		sum += x
	}
	return sum
}

func TestCrossEntropy(t *testing.T) {
	const classes = 4
	logits, label := noise(22, 3*classes), []int64{2, 0, 3}
	probability := []float64{0.1, 0.2, 0.3, 0.4, 1, 0, 0, 0, 0.25, 0.25, 0.25, 0.25}
	hot := make([]float64, 3*classes)
	for i, l := range label {
		hot[i*classes+int(l)] = 1
	}
	session(t, func(s *torch.Session) {
		x, y := s.FromFloat64(logits, 3, classes), s.FromInt64(label, 3)
		for _, smoothing := range []float64{0, 0.1} {
			for _, q := range []struct {
				target torch.Tensor
				p      []float64
			}{{y, hot}, {s.FromFloat64(probability, 3, classes), probability}} {
				smooth := make([]float64, len(q.p))
				for i := range smooth {
					smooth[i] = q.p[i]*(1-smoothing) + smoothing/classes
				}
				want := crossEntropy(logits, smooth, classes)
				near(t, want, x.CrossEntropy(q.target, torch.ReduceNone, smoothing), 1e-13, smoothing)
				near(t, []float64{total(want)}, x.CrossEntropy(q.target, torch.ReduceSum, smoothing), 1e-13, smoothing)
				near(t, []float64{total(want) / 3}, x.CrossEntropy(q.target, torch.ReduceMean, smoothing), 1e-13, smoothing)
			}
		}
	})
	refused(t, "CrossEntropy", func(s *torch.Session) { s.Ones(2, 3).CrossEntropy(s.FromInt64([]int64{0, 3}, 2), torch.ReduceMean, 0) })
	refused(t, "CrossEntropy", func(s *torch.Session) { s.Ones(2, 3).CrossEntropy(s.FromInt64([]int64{0}, 1), torch.ReduceMean, 0) })
	refused(t, "CrossEntropy", func(s *torch.Session) { s.Ones(2, 3).CrossEntropy(s.Ones(2, 4), torch.ReduceMean, 0) })
	refused(t, "CrossEntropy", func(s *torch.Session) {
		s.Ones(2, 3).CrossEntropy(s.FromInt64([]int64{0, 1}, 2), torch.Reduction(7), 0)
	})
	refused(t, "CrossEntropy", func(s *torch.Session) { s.Ones(2, 3).CrossEntropy(s.FromInt64([]int64{0, 1}, 2), torch.ReduceMean, 2) })
}

func TestOtherLosses(t *testing.T) {
	session(t, func(s *torch.Session) {
		p, q := []float64{0.2, 0.8, 0.5, 0.5}, []float64{0.4, 0.6, 0, 1}
		logp := make([]float64, 4)
		kl, square := make([]float64, 4), make([]float64, 4)
		for i := range p {
			logp[i] = math.Log(p[i])
			if q[i] > 0 {
				kl[i] = q[i] * (math.Log(q[i]) - logp[i])
			}
			square[i] = (p[i] - q[i]) * (p[i] - q[i])
		}
		a, b, c := s.FromFloat64(logp, 2, 2), s.FromFloat64(q, 2, 2), s.FromFloat64(p, 2, 2)
		near(t, kl, a.KLDiv(b, torch.ReduceNone), 1e-15)
		near(t, []float64{total(kl)}, a.KLDiv(b, torch.ReduceSum), 1e-15)
		near(t, []float64{total(kl) / 4}, a.KLDiv(b, torch.ReduceMean), 1e-15)
		near(t, square, c.MSELoss(b, torch.ReduceNone), 1e-15)
		near(t, []float64{total(square)}, c.MSELoss(b, torch.ReduceSum), 1e-15)
		near(t, []float64{total(square) / 4}, c.MSELoss(b, torch.ReduceMean), 1e-15)
	})
	refused(t, "MSELoss", func(s *torch.Session) { s.Ones(2).MSELoss(s.Ones(3), torch.ReduceMean) })
	refused(t, "MSELoss", func(s *torch.Session) { s.Ones(2).MSELoss(s.Ones(2), torch.Reduction(-1)) })
	refused(t, "KLDiv", func(s *torch.Session) { s.Ones(2).KLDiv(s.Ones(3), torch.ReduceMean) })
	refused(t, "KLDiv", func(s *torch.Session) { s.Ones(2).KLDiv(s.Ones(2), torch.Reduction(3)) })
}
