package torch

// #include "cgotorch.h"
import "C"

import "fmt"

// SetFused chooses libtorch's own one-kernel optimizers on the CPU too, where it has them; on a GPU they always are. It is a switch
// for the whole process, for tests.
func SetFused(on bool) error { return failure("SetFused", C.ct_set_fused(flag(on))) }

// Optimizer updates a fixed, ordered list of parameters from their gradients.
type Optimizer interface {
	// Step updates the parameters at learning rate lr. The gradients are scratch afterwards.
	Step(grads []Tensor, lr float64)
	// State is what must be saved beside the parameters: named tensors, in a fixed order, and the count of steps.
	State() (names []string, tensors []Tensor, steps int64)
	// SetSteps restores the count; the tensors of State are restored by writing into them.
	SetSteps(n int64)
	// Reset forgets momentum and the count, as a new optimizer would start.
	Reset()
}

type optimizer struct {
	s       *Session
	params  []Tensor
	buffers [][]Tensor // one list per kind of state
	kinds   []string
	steps   int64
}

// newOptimizer makes the buffers in the innermost open scope: they live as long as it does.
func newOptimizer(params []Tensor, kinds ...string) optimizer {
	o := optimizer{params: params, kinds: kinds}
	if len(params) > 0 {
		o.s = params[0].s
	}
	if o.s == nil {
		o.params = nil
		return o
	}
	for range kinds {
		var list []Tensor
		for _, p := range params {
			list = append(list, p.ZerosLike())
		}
		o.buffers = append(o.buffers, list)
	}
	return o
}

func (o *optimizer) State() (names []string, tensors []Tensor, steps int64) {
	for k, list := range o.buffers {
		for i, t := range list {
			names = append(names, fmt.Sprintf("%s.%d", o.kinds[k], i))
			tensors = append(tensors, t)
		}
	}
	return names, tensors, o.steps
}

func (o *optimizer) SetSteps(n int64) { o.steps = n }

func (o *optimizer) Reset() {
	o.steps = 0
	for _, list := range o.buffers {
		for _, t := range list {
			t.Fill_(0) // also what is not a number
		}
	}
}

type sgd struct {
	optimizer
	momentum, weightDecay float64
	nesterov              bool
}

// SGD is stochastic gradient descent with PyTorch's momentum, weight decay and Nesterov form.
// Its buffers belong to the innermost open scope.
func SGD(params []Tensor, momentum, weightDecay float64, nesterov bool) Optimizer {
	o := &sgd{momentum: momentum, weightDecay: weightDecay, nesterov: nesterov}
	if momentum == 0 {
		o.optimizer = newOptimizer(params)
	} else {
		o.optimizer = newOptimizer(params, "momentum")
	}
	return o
}

func (o *sgd) Step(grads []Tensor, lr float64) {
	n := len(o.params)
	if n == 0 {
		return
	}
	buffers := grads // not read without momentum
	if o.momentum != 0 {
		buffers = o.buffers[0]
	}
	p, ok := o.s.lists("SGD", n, o.params, grads, buffers)
	if !ok {
		return
	}
	o.s.Fail(failure("SGD", C.ct_sgd_(&p[0], &p[n], &p[2*n], C.int64_t(n), C.double(lr), C.double(o.momentum),
		C.double(o.weightDecay), flag(o.nesterov), flag(o.steps == 0))))
	o.steps++
}

type adam struct {
	optimizer
	beta1, beta2, eps, weightDecay float64
}

// Adam is PyTorch's Adam (betas 0.9 and 0.999, eps 1e-8) with weight decay added to the gradient.
// Its buffers belong to the innermost open scope.
func Adam(params []Tensor, weightDecay float64) Optimizer {
	return &adam{newOptimizer(params, "exp_avg", "exp_avg_sq"), 0.9, 0.999, 1e-8, weightDecay}
}

func (o *adam) Step(grads []Tensor, lr float64) {
	n := len(o.params)
	if n == 0 {
		return
	}
	p, ok := o.s.lists("Adam", n, o.params, grads, o.buffers[0], o.buffers[1])
	if !ok {
		return
	}
	o.steps++
	o.s.Fail(failure("Adam", C.ct_adam_(&p[0], &p[n], &p[2*n], &p[3*n], C.int64_t(n), C.double(lr), C.double(o.beta1),
		C.double(o.beta2), C.double(o.eps), C.double(o.weightDecay), C.int64_t(o.steps))))
}
