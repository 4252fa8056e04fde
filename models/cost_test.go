package models_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/models"
)

func TestCost(t *testing.T) {
	run(t, func(s *torch.Session) {
		for _, c := range []struct {
			sp   models.Spec
			want models.Costs
		}{
			{models.Spec{Arch: "lenet_adv", Width: 1, Classes: 10}, models.Costs{
				MACs:        39200 + 39200 + 12544 + 640,
				Activations: 784 + 1568 + 784 + 64 + 10,
				Layers: []models.LayerCost{
					{Name: "conv1", In: []int64{1, 28, 28}, Out: []int64{2, 28, 28}, MACs: 28 * 28 * 25 * 2},
					{Name: "conv2", In: []int64{2, 14, 14}, Out: []int64{4, 14, 14}, MACs: 14 * 14 * 25 * 2 * 4},
					{Name: "fc1", In: []int64{196}, Out: []int64{64}, MACs: 196 * 64},
					{Name: "fc2", In: []int64{64}, Out: []int64{10}, MACs: 64 * 10},
				},
			}},
			{models.Spec{Arch: "lenet_bn", Classes: 10}, models.Costs{
				MACs:        288000 + 1600000 + 400000 + 5000,
				Activations: 784 + 11520 + 3200 + 500 + 10,
				Layers: []models.LayerCost{
					{Name: "conv1", In: []int64{1, 28, 28}, Out: []int64{20, 24, 24}, MACs: 24 * 24 * 25 * 20},
					{Name: "conv2", In: []int64{20, 12, 12}, Out: []int64{50, 8, 8}, MACs: 8 * 8 * 25 * 20 * 50},
					{Name: "fc1", In: []int64{800}, Out: []int64{500}, MACs: 800 * 500},
					{Name: "fc2", In: []int64{500}, Out: []int64{10}, MACs: 500 * 10},
				},
			}},
		} {
			m, err := models.New(s, c.sp, nil)
			require.NoError(t, err)
			live := s.Live()
			got, err := models.Cost(m)
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
			assert.Equal(t, live, s.Live())
		}
	})
}
