package torch_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
)

var unaries = []struct {
	name string
	op   func(torch.Tensor) torch.Tensor
	want func(float64) float64
}{
	{"Relu", torch.Tensor.Relu, func(x float64) float64 { return max(x, 0) }},
	{"Sigmoid", torch.Tensor.Sigmoid, func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }},
	{"Tanh", torch.Tensor.Tanh, math.Tanh},
	{"Hardsigmoid", torch.Tensor.Hardsigmoid, func(x float64) float64 { return max(0, min(1, x/6+0.5)) }},
	{"Hardswish", torch.Tensor.Hardswish, func(x float64) float64 { return x * max(0, min(1, x/6+0.5)) }},
	{"Exp", torch.Tensor.Exp, math.Exp},
	{"Abs", torch.Tensor.Abs, math.Abs},
	{"Sign", torch.Tensor.Sign, func(x float64) float64 { return truth(x > 0) - truth(x < 0) }},
	{"Neg", torch.Tensor.Neg, func(x float64) float64 { return -x }},
	{"Square", torch.Tensor.Square, func(x float64) float64 { return x * x }},
	{"Floor", torch.Tensor.Floor, math.Floor},
	{"Round", torch.Tensor.Round, math.RoundToEven},
	{"LogicalNot", torch.Tensor.LogicalNot, func(x float64) float64 { return truth(x == 0) }},
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func TestUnary(t *testing.T) {
	x := append(noise(1, 20), 0, -2.5, -1.5, 0.5, 1.5, 2.5)
	session(t, func(s *torch.Session) {
		for _, u := range unaries {
			want := make([]float64, len(x))
			for i := range x {
				want[i] = u.want(x[i])
			}
			near(t, want, u.op(s.FromFloat64(x, 13, 2)), 1e-14, u.name)
		}
		near(t, []float64{0, math.Log(2), math.Log(0.3)}, s.FromFloat64([]float64{1, 2, 0.3}, 3).Log(), 1e-15)
		near(t, []float64{0, math.Sqrt(2), 3}, s.FromFloat64([]float64{0, 2, 9}, 3).Sqrt(), 1e-15)
		finite, err := s.FromFloat64([]float64{1, math.NaN(), math.Inf(1), math.Inf(-1), 0}, 5).IsFinite().Bools()
		require.NoError(t, err)
		require.Equal(t, []bool{true, false, false, false, true}, finite)
		near(t, []float64{4, 3, 2, 1, 8, 7, 6, 5}, s.FromFloat64([]float64{1, 2, 3, 4, 5, 6, 7, 8}, 2, 1, 2, 2).FlipHW(), 0)
	})
}

var binaries = []struct {
	name   string
	op     func(a, b torch.Tensor) torch.Tensor
	scalar func(a torch.Tensor, b float64) torch.Tensor
	want   func(a, b float64) float64
}{
	{"Add", torch.Tensor.Add, torch.Tensor.AddScalar, func(a, b float64) float64 { return a + b }},
	{"Sub", torch.Tensor.Sub, torch.Tensor.SubScalar, func(a, b float64) float64 { return a - b }},
	{"Mul", torch.Tensor.Mul, torch.Tensor.MulScalar, func(a, b float64) float64 { return a * b }},
	{"Div", torch.Tensor.Div, torch.Tensor.DivScalar, func(a, b float64) float64 { return a / b }},
	{"Maximum", torch.Tensor.Maximum, torch.Tensor.ClampMin, func(a, b float64) float64 { return max(a, b) }},
	{"Minimum", torch.Tensor.Minimum, torch.Tensor.ClampMax, func(a, b float64) float64 { return min(a, b) }},
	{"Eq", torch.Tensor.Eq, torch.Tensor.EqScalar, func(a, b float64) float64 { return truth(a == b) }},
	{"Ne", torch.Tensor.Ne, torch.Tensor.NeScalar, func(a, b float64) float64 { return truth(a != b) }},
	{"Lt", torch.Tensor.Lt, torch.Tensor.LtScalar, func(a, b float64) float64 { return truth(a < b) }},
	{"Le", torch.Tensor.Le, torch.Tensor.LeScalar, func(a, b float64) float64 { return truth(a <= b) }},
	{"Gt", torch.Tensor.Gt, torch.Tensor.GtScalar, func(a, b float64) float64 { return truth(a > b) }},
	{"Ge", torch.Tensor.Ge, torch.Tensor.GeScalar, func(a, b float64) float64 { return truth(a >= b) }},
}

func TestBinary(t *testing.T) {
	x, y := append(noise(2, 5), 0.75), append(noise(3, 5), 0.75)
	session(t, func(s *torch.Session) {
		a, b, row := s.FromFloat64(x, 2, 3), s.FromFloat64(y, 2, 3), s.FromFloat64(y[:3], 3)
		for _, o := range binaries {
			var want, scalar, broadcast []float64
			for i := range x {
				want = append(want, o.want(x[i], y[i]))
				scalar = append(scalar, o.want(x[i], 0.75))
				broadcast = append(broadcast, o.want(x[i], y[i%3]))
			}
			near(t, want, o.op(a, b), 1e-15, o.name)
			near(t, scalar, o.scalar(a, 0.75), 1e-15, o.name+" with a number")
			near(t, broadcast, o.op(a, row), 1e-15, o.name+" broadcasting")
		}
		require.Equal(t, torch.Bool, a.Lt(b).DType())
		both, err := s.FromBool([]bool{true, true, false, false}, 4).LogicalAnd(s.FromBool([]bool{true, false, true, false}, 4)).Bools()
		require.NoError(t, err)
		require.Equal(t, []bool{true, false, false, false}, both)
		near(t, []float64{58, 64, 139, 154},
			s.FromFloat64([]float64{1, 2, 3, 4, 5, 6}, 2, 3).MatMul(s.FromFloat64([]float64{7, 8, 9, 10, 11, 12}, 3, 2)), 0)
		near(t, []float64{-1, 0.5, 1}, s.FromFloat64([]float64{-3, 0.5, 7}, 3).Clamp(-1, 1), 0)
	})
}

func TestInPlace(t *testing.T) {
	session(t, func(s *torch.Session) {
		x := s.FromFloat64([]float64{1, 2, 3}, 3)
		y := s.FromFloat64([]float64{4, 5, 6}, 3)
		x.Add_(y, 0.5)
		near(t, []float64{3, 4.5, 6}, x, 0)
		x.Mul_(y)
		near(t, []float64{12, 22.5, 36}, x, 0)
		x.Div_(y)
		near(t, []float64{3, 4.5, 6}, x, 0)
		x.Scale_(2).Shift_(-1)
		near(t, []float64{5, 8, 11}, x, 0)
		x.Clamp_(6, 10)
		near(t, []float64{6, 8, 10}, x, 0)
		x.Copy_(s.FromInt64([]int64{7, 8, 9}, 3))
		require.Equal(t, torch.Float64, x.DType(), "Copy_ converts")
		near(t, []float64{7, 8, 9}, x, 0)
		x.Fill_(-1)
		near(t, []float64{-1, -1, -1}, x, 0)
		before := s.Live()
		x.Add_(y, 1).Mul_(y).Fill_(0)
		require.Equal(t, before, s.Live(), "operations in place make no handles")
	})
}

func TestRefusedOps(t *testing.T) {
	refused(t, "Add", func(s *torch.Session) { s.Ones(2, 3).Add(s.Ones(4)) })
	refused(t, "MatMul", func(s *torch.Session) { s.Ones(2, 3).MatMul(s.Ones(2, 3)) })
	refused(t, "Add_", func(s *torch.Session) { s.Ones(3).Add_(s.Ones(2, 3), 1) })
	refused(t, "Copy_", func(s *torch.Session) { s.Ones(3).Copy_(s.Ones(4)) })
	refused(t, "Div_", func(s *torch.Session) { s.Full(1, torch.Int64, 3).Div_(s.Ones(3)) })
	refused(t, "Fill_", func(s *torch.Session) { s.Ones(3).RequiresGrad_(true).Fill_(0) })
	refused(t, "FlipHW", func(s *torch.Session) { s.Ones(3).FlipHW() })
	refused(t, "Mean", func(s *torch.Session) { s.Full(1, torch.Int64, 3).Mean() })
}
