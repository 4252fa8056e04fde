package pickle_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"rapt/pickle"
)

func read(t *testing.T, name string, o pickle.Options) any {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	require.NoError(t, err)
	defer f.Close()
	v, err := pickle.Load(f, o)
	require.NoError(t, err)
	return v
}

func get(t *testing.T, v any, key string) any {
	t.Helper()
	d, ok := v.(*pickle.Dict)
	require.True(t, ok, "%T", v)
	out, ok := d.Get(key)
	require.True(t, ok, "no %q", key)
	return out
}

func items(t *testing.T, v any) []any {
	t.Helper()
	l, ok := v.(*pickle.List)
	require.True(t, ok, "%T", v)
	return l.Items
}

// TestPlainValues reads what Python wrote in each protocol.
func TestPlainValues(t *testing.T) {
	for protocol := range 6 {
		t.Run(fmt.Sprint(protocol), func(t *testing.T) {
			v := read(t, fmt.Sprintf("plain%d.pkl", protocol), pickle.Options{Allow: pickle.NumPy()})
			require.Nil(t, get(t, v, "none"))
			require.Equal(t, true, get(t, v, "true"))
			require.Equal(t, false, get(t, v, "false"))
			two := func(n uint) *big.Int { return new(big.Int).Lsh(big.NewInt(1), n) }
			require.Equal(t, []any{int64(0), int64(255), int64(256), int64(65536), int64(-1), int64(-129), int64(1 << 31), int64(-1 << 31), int64(1 << 40),
				int64(math.MinInt64), two(63), new(big.Int).Neg(two(70))}, items(t, get(t, v, "int")))
			require.Equal(t, []any{0.1, -1e300, math.Inf(1)}, items(t, get(t, v, "float")))
			require.Equal(t, []any{"", "plain", "a'b\"c\\d\n\t", "é€😀"}, items(t, get(t, v, "str")))
			all := make(pickle.Bytes, 256)
			for i := range all {
				all[i] = byte(i)
			}
			require.Equal(t, []any{pickle.Bytes{}, pickle.Bytes("\x00\xff\n'"), all}, items(t, get(t, v, "bytes")))
			tuples := items(t, get(t, v, "tuples"))
			require.Len(t, tuples, 5)
			for n, it := range tuples {
				require.Len(t, it, n)
			}
			shared := items(t, get(t, v, "shared"))
			require.Same(t, shared[0], shared[1])
			pairs := v.(*pickle.Dict).Pairs
			require.Equal(t, pickle.Tuple{"key", int64(1)}, pairs[9].Key)
			require.Equal(t, int64(7), pairs[10].Key)
			require.Equal(t, strings.Repeat("x", 300), get(t, v, "long"))
		})
	}
}

func TestSets(t *testing.T) {
	set := func(args pickle.Tuple) (any, error) { return &pickle.Set{Items: args[0].(*pickle.List).Items}, nil }
	allow := map[string]func(pickle.Tuple) (any, error){"builtins.set": set, "__builtin__.set": set, "builtins.frozenset": set, "__builtin__.frozenset": set}
	for protocol := range 6 {
		got := items(t, read(t, fmt.Sprintf("set%d.pkl", protocol), pickle.Options{Allow: allow}))
		require.Equal(t, []any{&pickle.Set{Items: []any{int64(1), int64(2)}}, &pickle.Set{Items: []any{int64(3)}}}, got)
	}
}

func TestNumPyArrays(t *testing.T) {
	for protocol := range 6 {
		t.Run(fmt.Sprint(protocol), func(t *testing.T) {
			v := read(t, fmt.Sprintf("numpy%d.pkl", protocol), pickle.Options{Allow: pickle.NumPy()})
			u8 := get(t, v, "u8").(*pickle.NDArray)
			require.Equal(t, &pickle.NDArray{Shape: []int64{2, 3}, DType: pickle.DType{Kind: 'u', Size: 1}, Data: []byte{0, 1, 2, 3, 4, 5}}, u8)
			be := get(t, v, "be").(*pickle.NDArray)
			require.Equal(t, pickle.DType{Kind: 'i', Size: 4, BigEndian: true}, be.DType)
			require.Equal(t, []byte{0, 0, 0, 1, 0, 0, 0, 2}, be.Data)
			f := get(t, v, "f").(*pickle.NDArray)
			require.True(t, f.Fortran)
			require.Equal(t, 3.0, math.Float64frombits(binary.LittleEndian.Uint64(f.Data[8:]))) // the second in Fortran's order is [1, 0]
			s := get(t, v, "s").(*pickle.NDArray)
			require.Empty(t, s.Shape)
			require.Equal(t, float32(0.5), math.Float32frombits(binary.LittleEndian.Uint32(s.Data)))
			require.Equal(t, []byte{1, 0}, get(t, v, "flag").(*pickle.NDArray).Data)
		})
	}
}

// TestPython2Batch reads the structure of CIFAR-10's batches: protocol 2, strings of Python 2.
func TestPython2Batch(t *testing.T) {
	v := read(t, "batch.pkl", pickle.Options{Allow: pickle.NumPy()})
	require.Equal(t, pickle.Bytes("batch 1"), get(t, v, "batch_label"))
	require.Equal(t, []any{int64(3), int64(9)}, items(t, get(t, v, "labels")))
	data := get(t, v, "data").(*pickle.NDArray)
	require.Equal(t, []int64{2, 12}, data.Shape)
	require.Equal(t, byte(23), data.Data[23])
	name, ok := pickle.Text(items(t, get(t, v, "filenames"))[1])
	require.True(t, ok)
	require.Equal(t, "b.png", name)
}

// TestStopsAtTheEnd: files that hold several pickles are read one after the other.
func TestStopsAtTheEnd(t *testing.T) {
	r := bufio.NewReader(strings.NewReader("K\x01.K\x02.rest"))
	for want := range 2 {
		v, err := pickle.Load(r, pickle.Options{})
		require.NoError(t, err)
		require.Equal(t, int64(want+1), v)
	}
	rest, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, "rest", string(rest))
}

func TestPersistentIDs(t *testing.T) {
	o := pickle.Options{PersistentLoad: func(id any) (any, error) { return id.(string) + "!", nil }}
	for _, s := range []string{"Pabc\n.", "X\x03\x00\x00\x00abcQ."} {
		v, err := pickle.Load(strings.NewReader(s), o)
		require.NoError(t, err)
		require.Equal(t, "abc!", v)
	}
	_, err := pickle.Load(strings.NewReader("Pabc\n."), pickle.Options{})
	require.ErrorContains(t, err, "outside itself")
}

func FuzzLoad(f *testing.F) {
	entries, err := os.ReadDir("testdata")
	require.NoError(f, err)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".pkl") {
			b, err := os.ReadFile("testdata/" + e.Name())
			require.NoError(f, err)
			f.Add(b)
		}
	}
	for _, h := range hostile {
		f.Add([]byte(h.pickle))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := pickle.Load(bytes.NewReader(b), pickle.Options{Allow: pickle.NumPy(), MaxItems: 10_000, MaxBytes: 1 << 20,
			PersistentLoad: func(id any) (any, error) { return id, nil }})
		if err != nil && v != nil {
			t.Fatalf("a value beside the error %v", err)
		}
		walk(v, 0, map[any]bool{})
	})
}

// walk goes through a value without any care, as users of the package do.
func walk(v any, depth int, seen map[any]bool) {
	if depth > 100 {
		panic("deeper than the limit")
	}
	each := func(items []any) {
		for _, it := range items {
			walk(it, depth+1, seen)
		}
	}
	switch v := v.(type) {
	case *pickle.List:
		if !seen[v] { // shared lists may be exponentially many on a walk
			seen[v] = true
			each(v.Items)
		}
	case *pickle.Dict:
		if !seen[v] {
			seen[v] = true
			for _, p := range v.Pairs {
				walk(p.Key, depth+1, seen)
				walk(p.Value, depth+1, seen)
			}
		}
	}
}
