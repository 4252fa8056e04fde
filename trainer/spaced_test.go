package trainer

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
)

func TestSpaced(t *testing.T) {
	ids := []int64{1, 3, 5, 7, 9}
	assert.Equal(t, ids, spaced(ids, 0))
	assert.Equal(t, ids, spaced(ids, 5))
	assert.Equal(t, []int64{1, 5}, spaced(ids, 2))
	assert.Equal(t, []int64{1, 3, 5, 7}, spaced(ids, 4))
}

// The step whose gradient is no number still has a loss: what it leaves is not saved over a good checkpoint.
func TestAModelThatIsNotFiniteIsNotSaved(t *testing.T) {
	inside(t, func(p *pipeline) {
		withRun(t, p)
		stages, err := p.stages()
		require.NoError(t, err)
		st := stages[0]
		p.lead().s.Do(func() {
			require.NoError(t, p.begin(st))
			require.NoError(t, p.save(st, "last"))
			p.lead().s.NoGrad(func() {
				w := *p.lead().model.State[0].Tensor
				w.Detach().Copy_(p.lead().s.Full(math.Inf(1), torch.Float32, w.Shape()...))
			})
			require.ErrorContains(t, p.save(st, "last"), p.lead().model.State[0].Name+" is not finite")
		})
		model, _, _, err := p.run.LoadCheckpoint(st.name, "last")
		require.NoError(t, err)
		assert.Empty(t, notFiniteIn(model))
	})
}
