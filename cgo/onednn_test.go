package torch_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
)

// Whatever convolutions libtorch is left with here, its gradients do not depend on the number of channels being a multiple of
// oneDNN's blocks.
func TestConvolutionsOfAnyChannels(t *testing.T) {
	defer func() { require.NoError(t, torch.SetKernels("best")) }()
	require.NoError(t, torch.SetKernels("off"))
	session(t, func(s *torch.Session) {
		t.Logf("oneDNN is distrusted: %v", torch.DistrustsOneDNN())
		g := s.NewGenerator(1)
		for _, c := range []int64{1, 2, 3, 8, 16, 20, 33} {
			for _, o := range []int64{1, 4, 8, 16, 20, 50} {
				s.Do(func() {
					x, w := s.RandN(g, 2, c, 9, 9), s.RandN(g, o, c, 3, 3)
					grads := func(d torch.DType) []torch.Tensor {
						x, w := x.To(d).Detach().RequiresGrad_(true), w.To(d).Detach().RequiresGrad_(true)
						return s.Grad(x.Conv2d(w, torch.Tensor{}, torch.ConvOptions{Padding: 1}).Square().Sum(), x, w)
					}
					short, long := grads(torch.Float32), grads(torch.Float64)
					for i := range short {
						off := values(t, short[i].To(torch.Float64).Sub(long[i]).Norm().Div(long[i].Norm()))
						require.Less(t, off[0], 1e-5, fmt.Sprintf("gradient %d of %d to %d channels", i, c, o))
					}
				})
			}
		}
	})
}
