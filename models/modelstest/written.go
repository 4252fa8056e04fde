package modelstest

import (
	"testing"

	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/cgo/nn"
	"rapt/models"
)

// Written writes every kind of network to a file and compares what the file computes with the network, for batches of another size than the one
// that is recorded: to within tolerance of the largest logit.
func Written(t *testing.T, tolerance float64, write func(*torch.Session, *models.Model) ([]byte, error), run func(s *torch.Session, file []byte, x torch.Tensor) torch.Tensor) {
	t.Helper()
	for _, sp := range EveryKind {
		sp.Classes = 7
		require.NoError(t, torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
			m, err := models.New(s, sp, nil)
			require.NoError(t, err)
			require.NoError(t, Fill(s, m))
			live := s.Live()
			file, err := write(s, m)
			require.NoError(t, err, sp.Arch)
			require.Equal(t, live, s.Live())
			s.NoGrad(func() {
				x := Input(s, m, 3)
				want, got := m.Forward(x, nn.Eval), run(s, file, x)
				require.NoError(t, s.Err(), sp.Arch)
				require.Equal(t, want.Shape(), got.Shape(), sp.Arch)
				off, err := got.Sub(want).Abs().Max().Item()
				require.NoError(t, err)
				size, err := want.Abs().Max().Item()
				require.NoError(t, err)
				require.LessOrEqual(t, off, tolerance*size, sp.Arch)
			})
			return nil
		}))
	}
}
