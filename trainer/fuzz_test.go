package trainer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"rapt/adversarial"
)

// FuzzEvaluationState goes on from the state of an evaluation that holds anything: it is refused, or all that is read fits the images.
func FuzzEvaluationState(f *testing.F) {
	began := func() *evaluation {
		return newEvaluation([]group{{name: "a", parts: make([]adversarial.Attack, 2)}, {name: "b", parts: make([]adversarial.Attack, 1)}}, []uint16{1, 0, 2}, 3, 2, 1)
	}
	e := began()
	whole, err := json.Marshal(saved{Schema: 1, Fingerprint: "f", Clean: e.clean, Loss: e.loss, Tried: e.tried, Images: []int{2, 0}})
	require.NoError(f, err)
	f.Add(whole, make([]byte, 16))
	f.Add(whole, make([]byte, 15))
	f.Add(whole[:len(whole)-9], []byte{})
	f.Add([]byte(`{"schema":1,"fingerprint":"f","clean":{"prediction":[0,1,3],"margin":[],"step":[]},"loss":null,"tried":[null,[]],"images":[-1]}`), []byte{1})
	f.Fuzz(func(t *testing.T, content, images []byte) {
		path := filepath.Join(t.TempDir(), "state.json")
		require.NoError(t, os.WriteFile(path, content, 0o644))
		require.NoError(t, os.WriteFile(path+".images", images, 0o644))
		e := began()
		state, err := openState(path, true, "f", 2, e)
		if err != nil {
			var refused *InputError
			require.ErrorAs(t, err, &refused)
			require.ErrorContains(t, err, path)
			return
		}
		defer state.close()
		outcomes := []*outcome{e.clean}
		for _, parts := range e.tried {
			outcomes = append(outcomes, parts...)
		}
		require.Len(t, outcomes, 4)
		for _, o := range outcomes {
			require.Len(t, o.Margin, 3)
			require.Len(t, o.Step, 3)
			for _, p := range o.Prediction {
				require.True(t, p >= -1 && p < 3)
			}
		}
		require.Len(t, e.loss, 3)
		for i, image := range e.kept {
			require.Equal(t, state.held[i], image != nil)
		}
		require.NoError(t, state.save(e, true))
	})
}
