package admm_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"rapt/admm"
	torch "rapt/cgo"
	"rapt/cgo/torchtest"
)

// vector is one case of testdata; its README tells what the fields are.
type vector struct {
	Type   admm.Type
	Shape  []int64
	Ratio  float64
	Zeros  int
	Kept   []byte
	Rounds []struct {
		Rho, Penalty, Primal float64
		Kept                 []byte
		UNorm                float64 `json:"u_norm"`
		UStep                int     `json:"u_step"`
		U                    []float64
	}
	weights [4][]float32 // W, W1, W2, W3
}

func vectors(t *testing.T) []vector {
	text, err := os.ReadFile("testdata/cases.json")
	require.NoError(t, err)
	var out []vector
	require.NoError(t, json.Unmarshal(text, &out))
	packed, err := os.ReadFile("testdata/weights.gz")
	require.NoError(t, err)
	unzip, err := gzip.NewReader(bytes.NewReader(packed))
	require.NoError(t, err)
	planes, err := io.ReadAll(unzip)
	require.NoError(t, err)
	total, next := len(planes)/4, 0
	for c := range out {
		for w := range out[c].weights {
			values := make([]float32, admm.Groups(admm.Irregular, out[c].Shape))
			for i := range values {
				raw := []byte{planes[next], planes[total+next], planes[2*total+next], planes[3*total+next]}
				_, err := binary.Decode(raw, binary.LittleEndian, &values[i])
				require.NoError(t, err)
				next++
			}
			out[c].weights[w] = values
		}
	}
	require.Equal(t, total, next)
	return out
}

// run gives f a session and fails on the session's error.
func run(t *testing.T, f func(s *torch.Session)) {
	t.Helper()
	require.NoError(t, torch.Run(torchtest.Device(), torch.Options{Threads: 1}, func(s *torch.Session) error {
		f(s)
		return nil
	}))
}

func values(t *testing.T, x torch.Tensor) []float32 {
	t.Helper()
	v, err := x.Detach().Float32s()
	require.NoError(t, err)
	return v
}

func item(t *testing.T, x torch.Tensor) float64 {
	t.Helper()
	v, err := x.Item()
	require.NoError(t, err)
	return v
}

func kept(t *testing.T, x torch.Tensor) []byte {
	v := values(t, x)
	out := make([]byte, (len(v)+7)/8)
	for i := range v {
		if v[i] != 0 {
			out[i/8] |= 1 << (i % 8)
		}
	}
	return out
}

func requireKept(t *testing.T, want []byte, z torch.Tensor) {
	t.Helper()
	require.Equal(t, base64.StdEncoding.EncodeToString(want), base64.StdEncoding.EncodeToString(kept(t, z)), "the kept set")
}

func TestVectors(t *testing.T) {
	all := vectors(t)
	require.Len(t, all, 12)
	for i, v := range all {
		t.Run(fmt.Sprintf("%d-%s-%v-%g", i, v.Type, v.Shape, v.Ratio), func(t *testing.T) {
			run(t, func(s *torch.Session) { checkVector(t, s, v) })
		})
	}
}

func checkVector(t *testing.T, s *torch.Session, v vector) {
	w := s.FromFloat32(v.weights[0], v.Shape...)
	z := admm.Project(w, v.Type, v.Ratio)
	require.Equal(t, float64(v.Zeros), float64(w.Numel())-item(t, z.CountNonzero()))
	requireKept(t, v.Kept, z)
	requireKept(t, v.Kept, admm.Mask(w, v.Type, v.Ratio))
	require.Equal(t, 1.0, item(t, z.Eq(w.Mul(admm.Mask(w, v.Type, v.Ratio))).All()))

	w.RequiresGrad_(true)
	st := admm.New(s, []admm.Layer{{Name: "w", Weight: w, Ratio: v.Ratio}},
		admm.Options{Type: v.Type, Rho: 1e-3, RhoGrowth: 1.3})
	names, zu := st.Tensors()
	require.Equal(t, []string{"z.w", "u.w"}, names)
	requireKept(t, v.Kept, zu[0])
	require.Zero(t, item(t, zu[1].CountNonzero()))
	for i, want := range v.Rounds {
		s.NoGrad(func() { w.Copy_(s.FromFloat32(v.weights[i+1], v.Shape...)) })
		zBefore, sum := zu[0].Clone(), w.Detach().Add(zu[1])
		r, err := st.Update()
		require.NoError(t, err)
		require.InEpsilon(t, want.Rho, st.Rho(), 1e-12)
		requireKept(t, want.Kept, zu[0])
		require.Equal(t, 1.0, item(t, zu[0].Eq(sum).LogicalAnd(zu[0].NeScalar(0)).Eq(zu[0].NeScalar(0)).All()), "Z keeps W + U")
		require.InEpsilon(t, want.UNorm, item(t, zu[1].Norm()), 1e-5)
		for k, u := range values(t, zu[1]) {
			if k%want.UStep == 0 {
				require.InDelta(t, want.U[k/want.UStep], u, 1e-7)
			}
		}
		require.InEpsilon(t, want.Penalty, item(t, st.Penalty()), 1e-5)
		require.Len(t, r, 1)
		require.InEpsilon(t, want.Primal, r[0].Primal, 1e-5)
		require.InEpsilon(t, item(t, zBefore.Sub(zu[0]).Norm()), r[0].Dual, 1e-6)
		size := item(t, w.Detach().Norm())
		require.InEpsilon(t, r[0].Primal/size, r[0].PrimalRel, 1e-6)
		require.InEpsilon(t, r[0].Dual/size, r[0].DualRel, 1e-6)
	}
	requireKept(t, kept(t, admm.Mask(w, v.Type, v.Ratio)), admm.Masks(v.Type, []admm.Layer{{Weight: w, Ratio: v.Ratio}}, torch.Tensor{})[0])
}
