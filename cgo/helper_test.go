package torch_test

import (
	"bytes"
	"math"
	"math/rand"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/cgo/torchtest"
)

// session gives f a session on the CPU with one thread, and fails the test where f left an error in it or the process holds
// more tensors afterwards than before. Not for parallel tests.
func session(t *testing.T, f func(s *torch.Session)) {
	t.Helper()
	_, err := os.Stat("lib/libcgotorch.so") // so that go test notices another library and runs again
	require.NoError(t, err)
	before := torch.LiveTensors()
	err = torch.Run(torchtest.Device(), torch.Options{Threads: 1}, func(s *torch.Session) error {
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

// noise is n numbers from the standard normal distribution, the same for the same seed.
func noise(seed int64, n int) []float64 {
	r := rand.New(rand.NewSource(seed))
	out := make([]float64, n)
	for i := range out {
		out[i] = r.NormFloat64()
	}
	return out
}

// refused runs f in a session of its own and returns the error that f must have left there: one sentence that names the
// operation, without a C++ stack.
func refused(t *testing.T, op string, f func(s *torch.Session)) error {
	t.Helper()
	before := torch.LiveTensors()
	err := torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
		f(s)
		return s.Err()
	})
	require.Error(t, err, op)
	require.True(t, strings.HasPrefix(err.Error(), "torch: "+op+": "), "%s does not begin with the operation %s", err, op)
	require.NotContains(t, err.Error(), "Exception raised from")
	require.NotContains(t, err.Error(), "frame #")
	require.Equal(t, before, torch.LiveTensors(), "tensors left behind by %s", op)
	return err
}

// same reports whether two tensors are equal bit by bit.
func same(t *testing.T, a, b torch.Tensor) bool {
	t.Helper()
	x, err := a.Bytes()
	require.NoError(t, err)
	y, err := b.Bytes()
	require.NoError(t, err)
	return bytes.Equal(x, y)
}
