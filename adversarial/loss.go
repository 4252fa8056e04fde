package adversarial

import (
	"math"

	torch "rapt/cgo"
)

// loss of each image, [n], to be made large, from logits z [n, classes], classes y and, for targeted ones, target [n].
type loss func(z, y, target torch.Tensor) torch.Tensor

// of picks class c's logit for each image.
func of(z, c torch.Tensor) torch.Tensor { return z.Gather(1, c.Reshape(-1, 1)).Reshape(-1) }

// rival is the largest logit of another class than y.
func rival(z, y torch.Tensor) torch.Tensor {
	return z.Scatter(1, y.Reshape(-1, 1), math.Inf(-1)).Max(1)
}

// largest is the k-th largest logit of each image, from sorted ones.
func largest(sorted torch.Tensor, k int64) torch.Tensor { return sorted.Narrow(1, k-1, 1).Reshape(-1) }

func crossEntropy(z, y, _ torch.Tensor) torch.Tensor { return z.CrossEntropy(y, torch.ReduceNone, 0) }

func crossEntropyTo(z, _, target torch.Tensor) torch.Tensor {
	return z.CrossEntropy(target, torch.ReduceNone, 0).Neg()
}

// margin is max_{j != y} z_j - z_y (Carlini & Wagner, arXiv 1608.04644, f6 without its bound).
func margin(z, y, _ torch.Tensor) torch.Tensor { return rival(z, y).Sub(of(z, y)) }

// marginTo is z_t - z_y (Gowal et al., arXiv 1910.09338).
func marginTo(z, y, target torch.Tensor) torch.Tensor { return of(z, target).Sub(of(z, y)) }

// dlr is the difference of logits ratio (Croce & Hein, arXiv 2003.01690, eq. 6). It needs three classes.
func dlr(z, y, _ torch.Tensor) torch.Tensor {
	top, _ := z.TopK(3, 1, true)
	return rival(z, y).Sub(of(z, y)).Div(largest(top, 1).Sub(largest(top, 3)).AddScalar(1e-12))
}

// dlrTo is its targeted form (eq. 7). It needs four classes.
func dlrTo(z, y, target torch.Tensor) torch.Tensor {
	top, _ := z.TopK(4, 1, true)
	scale := largest(top, 1).Sub(largest(top, 3).Add(largest(top, 4)).MulScalar(0.5))
	return of(z, target).Sub(of(z, y)).Div(scale.AddScalar(1e-12))
}
