package torch_test

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
)

var dtypes = []torch.DType{torch.Float32, torch.Float64, torch.Int64, torch.Int32, torch.Uint8, torch.Bool, torch.BFloat16, torch.Float16}

func TestHostSlices(t *testing.T) {
	session(t, func(s *torch.Session) {
		f32, err := s.FromFloat32([]float32{1.5, -2, float32(math.Inf(1))}, 3).Float32s()
		require.NoError(t, err)
		require.Equal(t, []float32{1.5, -2, float32(math.Inf(1))}, f32)
		f64, err := s.FromFloat64([]float64{1e-300, math.Pi}, 2, 1).Float64s()
		require.NoError(t, err)
		require.Equal(t, []float64{1e-300, math.Pi}, f64)
		i64, err := s.FromInt64([]int64{math.MaxInt64, math.MinInt64}, 1, 2).Int64s()
		require.NoError(t, err)
		require.Equal(t, []int64{math.MaxInt64, math.MinInt64}, i64)
		u8, err := s.FromUint8([]uint8{0, 127, 255}, 3).Uint8s()
		require.NoError(t, err)
		require.Equal(t, []uint8{0, 127, 255}, u8)
		b, err := s.FromBool([]bool{true, false}, 2).Bools()
		require.NoError(t, err)
		require.Equal(t, []bool{true, false}, b)

		_, err = s.Ones(2).Int64s()
		require.ErrorContains(t, err, "Int64s: the tensor holds float32")
		require.NoError(t, s.Err(), "asking for the wrong type does not end the session")
	})
}

func TestConstant(t *testing.T) {
	session(t, func(s *torch.Session) {
		var first torch.Tensor
		s.Do(func() { first = s.Constant(1, 0.5) })
		near(t, []float64{1, 0.5}, first, 0, "outlives the scope that it was made in")
		require.Equal(t, first, s.Constant(1, 0.5))
		require.NotEqual(t, first, s.Constant(1, 0.25))
		require.NoError(t, s.Err())
	})
}

func TestBytes(t *testing.T) {
	session(t, func(s *torch.Session) {
		for _, d := range dtypes {
			x := s.FromFloat64([]float64{0, 1, 2, 3, 1, 0}, 2, 3).To(d)
			require.Equal(t, d, x.DType())
			data, err := x.Bytes()
			require.NoError(t, err)
			require.Len(t, data, 6*d.Size())
			again := s.FromBytes(data, d, 2, 3)
			require.Equal(t, d, again.DType())
			near(t, values(t, x), again, 0, d.String())
			data2, err := again.Bytes()
			require.NoError(t, err)
			require.Equal(t, data, data2)

			transposed, err := x.Permute(1, 0).Bytes()
			require.NoError(t, err)
			near(t, values(t, x.Permute(1, 0)), s.FromBytes(transposed, d, 3, 2), 0, "row-major order, %v", d)

			empty, err := s.FromBytes(nil, d, 3, 0).Bytes()
			require.NoError(t, err)
			require.Empty(t, empty)
		}
		bf, err := s.FromFloat32([]float32{1, -2}, 2).To(torch.BFloat16).Bytes()
		require.NoError(t, err)
		require.Equal(t, []byte{0x80, 0x3f, 0x00, 0xc0}, bf, "the upper half of a float32, little-endian")
		f32, err := s.Full(1.25, torch.Float32).Bytes()
		require.NoError(t, err)
		require.Equal(t, binary.LittleEndian.AppendUint32(nil, math.Float32bits(1.25)), f32)
		flags, err := s.FromBytes([]byte{0, 1, 2, 255}, torch.Bool, 4).Bytes()
		require.NoError(t, err)
		require.Equal(t, []byte{0, 1, 1, 1}, flags, "a bool is 0 or 1, whatever the bytes were")
	})
}

func TestConversions(t *testing.T) {
	session(t, func(s *torch.Session) {
		pixels := make([]uint8, 256)
		want := make([]float32, 256)
		for i := range pixels {
			pixels[i], want[i] = uint8(i), float32(i)/255
		}
		got, err := s.FromUint8(pixels, 256).To(torch.Float32).DivScalar(255).Float32s()
		require.NoError(t, err)
		if s.Device().IsCUDA() { // it multiplies by 1/255, which may differ in the last bit
			require.InDeltaSlice(t, want, got, 1e-7)
		} else {
			require.Equal(t, want, got)
		}
		near(t, []float64{-1, 0, 1}, s.FromFloat64([]float64{-1.9, 0.9, 1.5}, 3).To(torch.Int64), 0, "toward zero")
		near(t, []float64{1, 0, 1}, s.FromFloat64([]float64{-1.9, 0, 0.1}, 3).To(torch.Bool), 0)
		near(t, []float64{1.00390625}, s.Full(1.005, torch.Float32, 1).To(torch.BFloat16), 1e-2)
		require.Equal(t, torch.Float32, s.Ones(2).ToDevice(torch.CPU).DType())
		near(t, []float64{3}, s.Full(3, torch.Int32), 0)
		near(t, []float64{1}, s.Full(3, torch.Bool), 0)
	})
}

func TestEmptyTensors(t *testing.T) {
	session(t, func(s *torch.Session) {
		for _, x := range []torch.Tensor{s.FromFloat32(nil, 0), s.FromFloat32([]float32{}, 2, 0, 3), s.Zeros(0), s.Empty(torch.Float32, 4, 0)} {
			require.True(t, x.Defined())
			require.Zero(t, x.Numel())
			v, err := x.Float32s()
			require.NoError(t, err)
			require.Empty(t, v)
			require.Zero(t, x.Relu().Add(x).Numel())
		}
		near(t, []float64{5}, s.FromFloat64([]float64{5}), 0, "no dimension: one element")
	})
}

func TestRefusedCreation(t *testing.T) {
	const huge = int64(1) << 62
	refused(t, "FromFloat32", func(s *torch.Session) { s.FromFloat32(make([]float32, 5), 2, 3) })
	refused(t, "FromFloat32", func(s *torch.Session) { s.FromFloat32(make([]float32, 6), -2, -3) })
	refused(t, "FromFloat32", func(s *torch.Session) { s.FromFloat32(nil, -1, 0) })
	refused(t, "FromFloat32", func(s *torch.Session) { s.FromFloat32(nil, huge, 4) }) // the product overflows to 0
	refused(t, "FromUint8", func(s *torch.Session) { s.FromUint8(make([]uint8, 4), huge, huge, 4, huge) })
	refused(t, "FromFloat64", func(s *torch.Session) { s.FromFloat64([]float64{1}, 0) })
	refused(t, "FromBytes", func(s *torch.Session) { s.FromBytes(make([]byte, 5), torch.Float32, 1) })
	refused(t, "FromBytes", func(s *torch.Session) { s.FromBytes(make([]byte, 4), torch.DType(99), 1) })
	refused(t, "FromBytes", func(s *torch.Session) { s.FromBytes(nil, torch.DType(-1), 0) })
	refused(t, "Full", func(s *torch.Session) { s.Full(0, torch.DType(99), 1) })
	refused(t, "Full", func(s *torch.Session) { s.Zeros(-1) })
	refused(t, "Full", func(s *torch.Session) { s.Zeros(huge, 16) })
	refused(t, "Empty", func(s *torch.Session) { s.Empty(torch.DType(-1), 1) })
	refused(t, "Empty", func(s *torch.Session) { s.Empty(torch.Float32, huge, huge) })
	refused(t, "Arange", func(s *torch.Session) { s.Arange(-1) })
	refused(t, "To", func(s *torch.Session) { s.Ones(1).To(torch.DType(42)) })
	refused(t, "Item", func(s *torch.Session) { _, _ = s.Ones(2).Item() })

	err := refused(t, "Empty", func(s *torch.Session) { s.Empty(torch.Float64, 1<<50) })
	require.ErrorIs(t, err, torch.ErrOutOfMemory, "more than any host has")
	require.Equal(t, "unknown", torch.DType(99).String())
}
