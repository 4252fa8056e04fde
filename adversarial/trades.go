package adversarial

import torch "rapt/cgo"

// KL is the Kullback-Leibler divergence of the log-probabilities q from p, [N, C] each: the sum over classes of exp(p) (p - q), an image a
// row, [N]. It is made of logarithms alone, so that neither it nor its gradient, which flows to both, fails where a probability
// is too small for float32.
func KL(p, q torch.Tensor) torch.Tensor { return p.Exp().Mul(p.Sub(q)).Sum(1) }

// LogProbabilities of logits [N, C], in float32 whatever they were computed in.
func LogProbabilities(logits torch.Tensor) torch.Tensor {
	return logits.To(torch.Float32).LogSoftmax(1)
}

// StartNear is the start of the TRADES attack: x and 0.001 times a normal number for each value, not yet projected.
func (p PGD) StartNear(x torch.Tensor, g *torch.Generator) torch.Tensor {
	s := x.Session()
	return s.Scope(func() torch.Tensor {
		return x.Detach().Add(s.Empty(torch.Float32, x.Shape()...).Normal_(g, 0, 0.001))
	})
}

// AscendKL is Ascend on the divergence of the network's prediction from its prediction at x, which needs no label: the adversary of TRADES
// (Zhang et al., arXiv 1901.08573, section 4 and algorithm 1). At x itself the gradient is zero, so start must lie beside it.
func (p PGD) AscendKL(f Logits, start, x torch.Tensor) {
	s := start.Session()
	if s == nil || s.Err() != nil {
		return
	}
	s.Do(func() {
		var clean torch.Tensor
		s.NoGrad(func() { clean = LogProbabilities(f(x)) })
		p.climb(start, x, func(at torch.Tensor) torch.Tensor { return KL(clean, LogProbabilities(f(at))).Sum() })
	})
}
