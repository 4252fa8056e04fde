package torch_test

import (
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
)

// session gives f a session on the CPU with one thread, and fails the test where f left an error in it or the process holds
// more tensors afterwards than before. Not for parallel tests.
func session(t *testing.T, f func(s *torch.Session)) {
	t.Helper()
	_, err := os.Stat("lib/libcgotorch.so") // so that go test notices another library and runs again
	require.NoError(t, err)
	before := torch.LiveTensors()
	err = torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
		f(s)
		return s.Err()
	})
	require.NoError(t, err)
	require.Equal(t, before, torch.LiveTensors(), "tensors left behind")
}

// values reads any tensor as float64.
func values(t *testing.T, x torch.Tensor) []float64 {
	t.Helper()
	v, err := x.To(torch.Float64).Float64s()
	require.NoError(t, err)
	return v
}

// near compares a tensor with what it should be, to within tol of the larger of 1 and the value.
func near(t *testing.T, want []float64, got torch.Tensor, tol float64, what ...any) {
	t.Helper()
	v := values(t, got)
	require.Len(t, v, len(want), what...)
	for i := range want {
		require.InDelta(t, want[i], v[i], tol*max(1, math.Abs(want[i])), what...)
	}
}
