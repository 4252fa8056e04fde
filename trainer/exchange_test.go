package trainer

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/models"
)

// A parcel's parts lie side by side in it, each laid out as what it is for: also convolutions with their channels innermost.
func TestParcel(t *testing.T) {
	require.NoError(t, torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
		m, err := models.New(s, models.Spec{Arch: "lenet_bn", Classes: 10}, s.NewGenerator(1))
		require.NoError(t, err)
		m.ToChannelsLast()
		var like []torch.Tensor
		n := int64(0)
		for _, e := range m.State {
			if e.Tensor.DType() == torch.Float32 {
				like = append(like, e.Tensor.Detach())
				n += e.Tensor.Numel()
			}
		}
		p, q := newParcel(s, like), newParcel(s, like)
		assert.Equal(t, []int64{n}, p.whole.Shape())
		s.CopyLists_(p.parts, like)
		q.whole.Copy_(p.whole)
		want := values(t, like...)
		assert.Equal(t, want, values(t, q.parts...))
		for i := range like {
			assert.Equal(t, like[i].IsContiguous(), p.parts[i].IsContiguous(), "%v", like[i].Shape())
		}
		all := values(t, p.whole)
		slices.Sort(all)
		slices.Sort(want)
		assert.Equal(t, want, all, "each number once")
		return s.Err()
	}))
}
