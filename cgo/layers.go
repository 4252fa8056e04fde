package torch

// #include "cgotorch.h"
import "C"

import "fmt"

// ConvOptions of Conv2d; the same in height and width. Zero Stride, Dilation and Groups mean 1.
type ConvOptions struct {
	Stride, Padding, Dilation, Groups int64
	ReLU                              bool // the result is max(0, convolution)
}

// optional is the handle of a tensor that may be absent.
func (s *Session) optional(op string, t Tensor) (C.ct_tensor, bool) {
	if t == (Tensor{}) {
		return nil, s.err == nil
	}
	return s.ptr(op, t)
}

func orOne(v int64) int64 {
	if v == 0 {
		return 1
	}
	return v
}

// Conv2d convolves t [N, C, H, W] with weight [O, C/groups, kH, kW] and an optional bias [O].
func (t Tensor) Conv2d(weight, bias Tensor, o ConvOptions) Tensor {
	s, x, w, ok := pair("Conv2d", t, weight)
	if !ok {
		return Tensor{}
	}
	b, ok := s.optional("Conv2d", bias)
	if !ok {
		return Tensor{}
	}
	e := C.ct_conv2d(x, w, b, C.int64_t(orOne(o.Stride)), C.int64_t(o.Padding), C.int64_t(orOne(o.Dilation)),
		C.int64_t(orOne(o.Groups)), flag(o.ReLU), &s.out)
	out := s.take("Conv2d", e)
	if s.tape != nil && !o.ReLU {
		s.note(Step{Op: "Conv2d", In: []Tensor{t, weight, bias}, Out: out, Ints: []int64{orOne(o.Stride), o.Padding, orOne(o.Dilation), orOne(o.Groups)}})
	}
	return out
}

// Linear is t [N, I] times the transpose of weight [O, I], plus an optional bias [O].
func (t Tensor) Linear(weight, bias Tensor) Tensor {
	s, x, w, ok := pair("Linear", t, weight)
	if !ok {
		return Tensor{}
	}
	b, ok := s.optional("Linear", bias)
	if !ok {
		return Tensor{}
	}
	out := s.take("Linear", C.ct_linear(x, w, b, &s.out))
	if s.tape != nil {
		s.note(Step{Op: "Linear", In: []Tensor{t, weight, bias}, Out: out})
	}
	return out
}

// PackLinear lays weight t [O, I] out once for many calls of LinearPacked.
func (t Tensor) PackLinear() Tensor {
	return t.one("PackLinear", func(s *Session, p C.ct_tensor) *C.char { return C.ct_linear_pack(p, &s.out) })
}

// LinearPacked is t.Linear(weight, bias), then Relu where relu says so. packed is weight.PackLinear(), made since weight last changed.
// Gradients reach t only.
func (t Tensor) LinearPacked(packed, weight, bias Tensor, relu bool) Tensor {
	s, x, w, ok := pair("LinearPacked", t, weight)
	if !ok {
		return Tensor{}
	}
	p, ok := s.ptr("LinearPacked", packed)
	if !ok {
		return Tensor{}
	}
	b, ok := s.optional("LinearPacked", bias)
	if !ok {
		return Tensor{}
	}
	return s.take("LinearPacked", C.ct_linear_packed(x, p, w, b, flag(relu), &s.out))
}

// BatchNorm normalises over all dimensions but the second. In training it uses the batch's statistics and moves
// mean and var [C] toward them in place by momentum; otherwise it uses mean and var.
func (t Tensor) BatchNorm(weight, bias, mean, variance Tensor, training bool, momentum, eps float64) Tensor {
	s, x, ok := t.use("BatchNorm")
	if !ok {
		return Tensor{}
	}
	var p [4]C.ct_tensor
	for i, a := range []Tensor{weight, bias, mean, variance} {
		if p[i], ok = s.optional("BatchNorm", a); !ok {
			return Tensor{}
		}
	}
	e := C.ct_batch_norm(x, p[0], p[1], p[2], p[3], flag(training), C.double(momentum), C.double(eps), &s.out)
	out := s.take("BatchNorm", e)
	if s.tape != nil && !training {
		s.note(Step{Op: "BatchNorm", In: []Tensor{t, weight, bias, mean, variance}, Out: out, Floats: []float64{eps}})
	}
	return out
}

func (t Tensor) pool(op string, code C.int, k, stride, padding int64) Tensor {
	out := t.one(op, func(s *Session, p C.ct_tensor) *C.char {
		return C.ct_pool2d(code, p, C.int64_t(k), C.int64_t(stride), C.int64_t(padding), &s.out)
	})
	return t.noted(op, out, k, stride, padding)
}

// MaxPool2d takes the maximum of k x k windows.
func (t Tensor) MaxPool2d(k, stride, padding int64) Tensor {
	return t.pool("MaxPool2d", C.CT_MAX_POOL, k, stride, padding)
}

// MaxPool2dRelu is MaxPool2d and then Relu; on the CPU one operation.
func (t Tensor) MaxPool2dRelu(k, stride, padding int64) Tensor {
	return t.pool("MaxPool2dRelu", C.CT_MAX_POOL_RELU, k, stride, padding)
}

// AvgPool2d takes the mean of k x k windows.
func (t Tensor) AvgPool2d(k, stride, padding int64) Tensor {
	return t.pool("AvgPool2d", C.CT_AVG_POOL, k, stride, padding)
}

// AdaptiveAvgPool2d averages to size x size outputs.
func (t Tensor) AdaptiveAvgPool2d(size int64) Tensor {
	return t.pool("AdaptiveAvgPool2d", C.CT_ADAPTIVE_AVG_POOL, size, 0, 0)
}

// AddRelu is max(t + u, 0), in one pass on the CPU; t and u have one shape.
func (t Tensor) AddRelu(u Tensor) Tensor {
	s, a, b, ok := pair("AddRelu", t, u)
	if !ok {
		return Tensor{}
	}
	out := s.take("AddRelu", C.ct_add_relu(a, b, &s.out))
	if s.tape != nil {
		s.note(Step{Op: "AddRelu", In: []Tensor{t, u}, Out: out})
	}
	return out
}

// Dropout zeroes elements at probability p and scales the others by 1/(1-p).
func (t Tensor) Dropout(p float64, g *Generator) Tensor {
	s, x, ok := t.use("Dropout")
	if !ok {
		return Tensor{}
	}
	if !g.ok("Dropout") || g.s != s {
		s.Fail(fmt.Errorf("torch: Dropout: a generator of the tensor's own session is needed"))
		return Tensor{}
	}
	return s.take("Dropout", C.ct_dropout(x, C.double(p), g.g, &s.out))
}

// Reduction says how a loss joins its samples.
type Reduction int

// The reductions, as in PyTorch.
const (
	ReduceNone Reduction = iota
	ReduceMean
	ReduceSum
)

// CrossEntropy of logits t [N, C] against target: class indices (int64 [N]) or probabilities ([N, C]).
func (t Tensor) CrossEntropy(target Tensor, r Reduction, labelSmoothing float64) Tensor {
	s, a, b, ok := pair("CrossEntropy", t, target)
	if !ok {
		return Tensor{}
	}
	return s.take("CrossEntropy", C.ct_cross_entropy(a, b, C.int(r), C.double(labelSmoothing), &s.out))
}

// KLDiv is the Kullback-Leibler divergence of target probabilities from log-probabilities t.
func (t Tensor) KLDiv(target Tensor, r Reduction) Tensor {
	s, a, b, ok := pair("KLDiv", t, target)
	if !ok {
		return Tensor{}
	}
	return s.take("KLDiv", C.ct_kl_div(a, b, C.int(r), &s.out))
}

// MSELoss is the squared difference of t and target.
func (t Tensor) MSELoss(target Tensor, r Reduction) Tensor {
	s, a, b, ok := pair("MSELoss", t, target)
	if !ok {
		return Tensor{}
	}
	return s.take("MSELoss", C.ct_mse(a, b, C.int(r), &s.out))
}
