// Package functional is the stateless half of nn under the names that gotorch and PyTorch users expect
// (import F "rapt/cgo/nn/functional").
package functional

import torch "rapt/cgo"

// Relu is max(x, 0).
func Relu(x torch.Tensor) torch.Tensor { return x.Relu() }

// AddRelu is max(x + y, 0), of two tensors of one shape.
func AddRelu(x, y torch.Tensor) torch.Tensor { return x.AddRelu(y) }

// MaxPool2d takes the maximum of k x k windows that do not overlap.
func MaxPool2d(x torch.Tensor, k int64) torch.Tensor { return x.MaxPool2d(k, k, 0) }

// MaxPoolRelu is Relu of MaxPool2d.
func MaxPoolRelu(x torch.Tensor, k int64) torch.Tensor { return x.MaxPool2dRelu(k, k, 0) }

// LogSoftmax is the logarithm of the softmax along dim.
func LogSoftmax(x torch.Tensor, dim int) torch.Tensor { return x.LogSoftmax(dim) }

// CrossEntropy is the mean cross-entropy of logits [N, C] against target: classes (int64 [N]) or probabilities [N, C].
func CrossEntropy(logits, target torch.Tensor) torch.Tensor {
	return logits.CrossEntropy(target, torch.ReduceMean, 0)
}

// Dropout zeroes elements at probability p and scales the others by 1/(1-p).
func Dropout(x torch.Tensor, p float64, g *torch.Generator) torch.Tensor { return x.Dropout(p, g) }
