package importer_test

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/importer"
	"rapt/trainer/checkpoint"
)

func open(t *testing.T, name string) *importer.StateDict {
	t.Helper()
	d, err := importer.ReadPyTorch("testdata/" + name)
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

func values(t *testing.T, x *importer.Tensor) []float64 {
	t.Helper()
	c, err := x.Convert(checkpoint.TypeF32)
	require.NoError(t, err)
	v, err := c.Float32s()
	require.NoError(t, err)
	out := make([]float64, len(v))
	for i := range v {
		out[i] = float64(v[i])
	}
	return out
}

// TestEveryTypeAndView compares with what PyTorch itself wrote down, in both forms of files.
func TestEveryTypeAndView(t *testing.T) {
	var want map[string]struct {
		Shape  []int64
		Values []float64
	}
	b, err := os.ReadFile("testdata/all.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &want))
	for _, name := range []string{"all.pt", "all_legacy.pt", "all_protocol4.pt", "all_legacy_protocol4.pt"} {
		t.Run(name, func(t *testing.T) {
			kind, err := importer.KindOf("testdata/" + name)
			require.NoError(t, err)
			require.Equal(t, importer.PyTorch, kind)
			d := open(t, name)
			require.Len(t, d.Tensors, len(want))
			require.Empty(t, d.Notes)
			require.Equal(t, "f64", d.Tensors[0].Name, "the order is the file's")
			for _, x := range d.Tensors {
				w := want[x.Name]
				require.Equal(t, w.Shape, append([]int64{}, x.Shape...), x.Name)
				got := values(t, x)
				require.Len(t, got, len(w.Values), x.Name)
				for i := range got {
					require.Equal(t, float64(float32(w.Values[i])), got[i], "%s[%d]", x.Name, i)
				}
			}
		})
	}
}

func TestIntegersStayExact(t *testing.T) {
	for _, x := range open(t, "all.pt").Tensors {
		c, err := x.Convert(checkpoint.TypeI64)
		if x.Name == "f64" || x.Name == "f32" || x.Name == "f16" || x.Name == "bf16" || x.Name == "parameter" {
			require.ErrorContains(t, err, x.Name+": holds a value that is no whole number")
			continue
		}
		require.NoError(t, err)
		v, err := c.Int64s()
		require.NoError(t, err)
		switch x.Name {
		case "i64":
			require.Equal(t, []int64{-5, 1 << 40}, v)
		case "i8":
			require.Equal(t, []int64{-128, 127}, v)
		case "scalar":
			require.Equal(t, []int64{7}, v)
			require.Empty(t, c.Shape)
		}
	}
}

func TestOtherByteOrderAndPackedFiles(t *testing.T) {
	for _, name := range []string{"one.pt", "one_big.pt", "one_deflated.pt"} {
		d := open(t, name)
		require.Equal(t, []float64{1, -2}, values(t, d.Tensors[0]), name)
		require.Equal(t, []float64{3, -4}, values(t, d.Tensors[1]), name)
	}
	d := open(t, "untyped.pt")
	require.Equal(t, []float64{1, 2, -0.5}, values(t, d.Tensors[0]))
}

func TestWrappersAndPrefixes(t *testing.T) {
	names := func(d *importer.StateDict) (out []string) {
		for _, x := range d.Tensors {
			out = append(out, x.Name)
		}
		return out
	}
	want := []string{"0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"}
	d := open(t, "wrapped.pt")
	require.Equal(t, want, names(d))
	require.Equal(t, []string{`the state dict is "state_dict"; beside it "epoch", "arch", "best_acc" and "optimizer" were left out`,
		`"module.basic_model." was taken from the front of every name`}, d.Notes)
	require.Equal(t, []float64{1}, values(t, d.Tensors[6]))
	// A tensor among the extras makes the outer dict look like the state dict, but for the name of the inner one.
	d = open(t, "net.pt")
	require.Equal(t, want, names(d))
	require.Equal(t, []string{`the state dict is "net"; beside it "acc" and "scheduler" were left out`}, d.Notes)
}

func TestHalfPrecision(t *testing.T) {
	for _, x := range open(t, "all.pt").Tensors {
		if x.Name == "f16" {
			got := values(t, x)
			assert.Equal(t, -65504.0, got[1])
			assert.Equal(t, math.Ldexp(1, -24), got[2], "the smallest subnormal")
		}
	}
}
