package checkpoint

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/nlpodyssey/safetensors"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// raw puts a file together by hand: length, header, data.
func raw(header string, data ...byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

func decodeBytes(b []byte) (*File, error) {
	return decode("x.safetensors", bytes.NewReader(b), int64(len(b)))
}

func sample() *File {
	return &File{
		Metadata: map[string]string{"arch": "lenet", "width": "2", "dataset": "mnist \"<é>"},
		Tensors: []Tensor{
			F32("conv1.weight", []int64{3}, []float32{1.5, -2, float32(math.Inf(1))}),
			Bool("mask", []int64{1, 3}, []bool{true, false, true}),
			I64("bn.num_batches_tracked", nil, []int64{-7}),
			U8("generator/state", []int64{5}, []byte{0, 1, 2, 254, 255}),
			F32("empty", []int64{0, 4}, nil),
		},
	}
}

func encoded(t testing.TB, f *File) []byte {
	var b bytes.Buffer
	require.NoError(t, encode(&b, f))
	return b.Bytes()
}

func TestRoundTripKeepsOrderTypesAndMetadata(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.safetensors")
	require.NoError(t, Write(path, sample()))
	got, err := Read(path)
	require.NoError(t, err)
	want := sample()
	assert.Equal(t, want.Metadata, got.Metadata)
	require.Len(t, got.Tensors, len(want.Tensors))
	for i, w := range want.Tensors {
		assert.Equal(t, w.Name, got.Tensors[i].Name)
		assert.Equal(t, w.DType, got.Tensors[i].DType)
		assert.Equal(t, append([]int64{}, w.Shape...), got.Tensors[i].Shape)
		assert.Equal(t, append([]byte{}, w.Data...), got.Tensors[i].Data)
	}
	w, ok := got.Get("conv1.weight")
	require.True(t, ok)
	v, err := w.Float32s()
	require.NoError(t, err)
	assert.Equal(t, []float32{1.5, -2, float32(math.Inf(1))}, v)
	n, _ := got.Get("bn.num_batches_tracked")
	i, err := n.Int64s()
	require.NoError(t, err)
	assert.Equal(t, []int64{-7}, i)
	m, _ := got.Get("mask")
	b, err := m.Bools()
	require.NoError(t, err)
	assert.Equal(t, []bool{true, false, true}, b)
	s, _ := got.Get("generator/state")
	u, err := s.Bytes()
	require.NoError(t, err)
	assert.Equal(t, []byte{0, 1, 2, 254, 255}, u)
	_, ok = got.Get("absent")
	assert.False(t, ok)
	_, err = s.Float32s()
	assert.EqualError(t, err, `tensor "generator/state" holds U8, not F32`)
}

func TestBytesAreDeterministicAndAligned(t *testing.T) {
	first := encoded(t, sample())
	for range 20 {
		require.Equal(t, first, encoded(t, sample()))
	}
	header := binary.LittleEndian.Uint64(first)
	assert.Zero(t, header%8)
	_, infos, err := decodeHeader("x", bytes.NewReader(first), int64(len(first)))
	require.NoError(t, err)
	for _, i := range infos {
		assert.Zero(t, i.Begin%int64(i.DType.Size()), "%s begins at %d", i.Name, i.Begin)
	}
}

// The library is the second opinion: it wrote or reads the same bytes.
func TestAgreesWithAnotherImplementation(t *testing.T) {
	b := encoded(t, sample())
	other, err := safetensors.Deserialize(b)
	require.NoError(t, err)
	assert.Equal(t, len(sample().Tensors), other.Len())
	for _, w := range sample().Tensors {
		v, ok := other.Tensor(w.Name)
		require.True(t, ok, w.Name)
		assert.Equal(t, string(w.DType), v.DType().String())
		assert.True(t, bytes.Equal(w.Data, v.Data()), w.Name)
	}
	view, err := safetensors.NewTensorView(safetensors.F32, []uint64{2}, []byte{0, 0, 128, 63, 0, 0, 0, 64})
	require.NoError(t, err)
	b, err = safetensors.Serialize(map[string]safetensors.TensorView{"w": view}, map[string]string{"format": "pt"})
	require.NoError(t, err)
	f, err := decodeBytes(b)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"format": "pt"}, f.Metadata)
	v, err := f.Tensors[0].Float32s()
	require.NoError(t, err)
	assert.Equal(t, []float32{1, 2}, v)
}

func TestReadsForeignLayout(t *testing.T) {
	// Keys in another order, unpadded, spaces within, tensors not in the order of their data.
	f, err := decodeBytes(raw(`{ "b":{"shape":[2],"data_offsets":[4,6],"dtype":"U8"}, "a":{"dtype":"I32","shape":[],"data_offsets":[0,4]}}`,
		1, 0, 0, 0, 8, 9))
	require.NoError(t, err)
	assert.Nil(t, f.Metadata)
	assert.Equal(t, "b", f.Tensors[0].Name)
	assert.Equal(t, []byte{8, 9}, f.Tensors[0].Data)
	assert.Equal(t, []byte{1, 0, 0, 0}, f.Tensors[1].Data)
	f, err = decodeBytes(raw(`{}`))
	require.NoError(t, err)
	assert.Empty(t, f.Tensors)
}

func TestHostileFilesAreRefused(t *testing.T) {
	entry := func(dtype, shape, offsets string) string {
		return fmt.Sprintf(`{"w":{"dtype":%q,"shape":%s,"data_offsets":%s}}`, dtype, shape, offsets)
	}
	huge := binary.LittleEndian.AppendUint64(nil, math.MaxUint64)
	for _, c := range []struct {
		name, want string
		file       []byte
	}{
		{"empty", "too short", nil},
		{"header of 2^64-1 bytes", "above the limit", append(huge, "{}"...)},
		{"header above 100 MB", "above the limit", binary.LittleEndian.AppendUint64(nil, 100_000_001)},
		{"a zip archive", "rapt import makes a checkpoint of it", []byte("PK\x03\x04\x00\x00\x08\x08\x00\x00")},
		{"a pickle", "rapt import makes a checkpoint of it", []byte("\x80\x02\x8a\x0al\xfc\x9cF\xf9\x20")},
		{"a text", "is a text: a checkpoint (.safetensors) or a run's folder is needed", []byte("# Title\n")},
		{"header longer than the file", "claims a header of 90000000 bytes and has 0", binary.LittleEndian.AppendUint64(nil, 90_000_000)},
		{"not JSON", "broken JSON", raw("hello there")},
		{"an array", "not a JSON object", raw(`[]`)},
		{"not UTF-8", "not UTF-8", raw("{\"\xff\":{}}")},
		{"no end", "ends early", raw(`{"w":{"dtype":"U8"`)},
		{"text behind the header", "something follows", raw(`{} {}`)},
		{"duplicate name", `"w" occurs twice`, raw(`{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 0, 0)},
		{"duplicate metadata key", `"k" occurs twice`, raw(`{"__metadata__":{"k":"1","k":"2"}}`)},
		{"metadata twice", "occurs twice", raw(`{"__metadata__":{},"__metadata__":{}}`)},
		{"metadata of numbers", "not a string", raw(`{"__metadata__":{"k":1}}`)},
		{"metadata null", "not a JSON object", raw(`{"__metadata__":null}`)},
		{"tensor null", "not a JSON object", raw(`{"w":null}`)},
		{"missing field", "needs dtype, shape", raw(`{"w":{"dtype":"U8","shape":[1]}}`, 0)},
		{"unknown field", `unexpected key "x"`, raw(`{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}}`, 0)},
		{"field twice", `unexpected key "dtype"`, raw(`{"w":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 0)},
		{"unknown type", `unknown type "Q4"`, raw(entry("Q4", "[1]", "[0,1]"), 0)},
		{"shape of strings", "no whole number", raw(entry("U8", `["1"]`, "[0,1]"), 0)},
		{"negative size", "no whole number", raw(entry("U8", "[-1]", "[0,1]"), 0)},
		{"fraction", "no whole number", raw(entry("U8", "[1.5]", "[0,1]"), 0)},
		{"size above 2^63", "no whole number", raw(entry("U8", "[9223372036854775808]", "[0,1]"), 0)},
		{"shape overflows to 0", "impossible shape", raw(entry("U8", "[4294967296,4294967296]", "[0,0]"))},
		{"bytes overflow", "impossible shape", raw(entry("F64", "[2305843009213693952]", "[0,0]"))},
		{"a million dimensions", "more than 64 sizes", raw(entry("U8", "["+strings.Repeat("1,", 999_999)+"1]", "[0,1]"), 0)},
		{"nested shape", "no whole number", raw(entry("U8", strings.Repeat("[", 50_000), "[0,1]"))},
		{"three offsets", "more than 2 sizes", raw(entry("U8", "[1]", "[0,1,2]"), 0)},
		{"one offset", "two data_offsets", raw(entry("U8", "[1]", "[0]"), 0)},
		{"offsets backwards", "needs 1 bytes", raw(entry("U8", "[1]", "[1,0]"), 0)},
		{"shape and offsets differ", "needs 8 bytes", raw(entry("F32", "[2]", "[0,4]"), 0, 0, 0, 0)},
		{"data beyond the file", "truncated", raw(entry("F32", "[1000000000000]", "[0,4000000000000]"), 0)},
		{"data follows", "1 bytes follow", raw(entry("U8", "[1]", "[0,1]"), 0, 0)},
		{"data without tensors", "2 bytes follow", raw(`{}`, 0, 0)},
		{"hole", "a hole or an overlap", raw(entry("U8", "[1]", "[1,2]"), 0, 0)},
		{"overlap", "a hole or an overlap", raw(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 0, 0, 0)},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bad.safetensors")
			require.NoError(t, os.WriteFile(path, c.file, 0o644))
			_, err := Read(path)
			var bad *InputError
			require.ErrorAs(t, err, &bad)
			assert.Equal(t, path, bad.Path)
			assert.Contains(t, err.Error(), c.want)
			assert.Less(t, len(err.Error()), len(path)+400)
			_, _, err = ReadHeader(path)
			assert.ErrorAs(t, err, &bad)
		})
	}
}

func TestTruncatedAtEveryLength(t *testing.T) {
	b := encoded(t, sample())
	for n := range b {
		_, err := decodeBytes(b[:n])
		var bad *InputError
		require.ErrorAs(t, err, &bad, "the first %d bytes of %d", n, len(b))
	}
	_, err := decodeBytes(b)
	assert.NoError(t, err)
}

// A flipped bit may give another valid file, in the names or the data; it never
// gives a tensor that contradicts itself.
func TestBitFlips(t *testing.T) {
	b := encoded(t, sample())
	refused := 0
	for i := range 8 * len(b) {
		c := bytes.Clone(b)
		c[i/8] ^= 1 << (i % 8)
		f, err := decodeBytes(c)
		if err != nil {
			refused++
			continue
		}
		for _, x := range f.Tensors {
			require.NoError(t, x.check())
		}
	}
	assert.Greater(t, refused, len(b), "most flips in the header break it")
}

// A small file must not make Read take much memory, whatever it claims.
func TestMemoryIsBoundedByTheFile(t *testing.T) {
	claims := [][]byte{
		binary.LittleEndian.AppendUint64(nil, 99_000_000),
		raw(`{"w":{"dtype":"F64","shape":[100000000000],"data_offsets":[0,800000000000]}}`),
		raw(`{"w":{"dtype":"U8","shape":` + strings.Repeat("[", 1<<20)),
	}
	for i, c := range claims {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := decodeBytes(c)
		runtime.ReadMemStats(&after)
		require.Error(t, err)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8*len(c)+1<<20), "claim %d", i)
	}
}

func TestReadRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		dir:                           "is not a file",
		filepath.Join(dir, "missing"): "no such file",
		"/dev/zero":                   "is not a file",
	} {
		_, err := Read(path)
		var bad *InputError
		require.ErrorAs(t, err, &bad)
		assert.Contains(t, err.Error(), want)
		assert.Equal(t, 1, strings.Count(err.Error(), path))
	}
}

func TestReadHeader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.safetensors")
	require.NoError(t, Write(path, sample()))
	meta, infos, err := ReadHeader(path)
	require.NoError(t, err)
	assert.Equal(t, "lenet", meta["arch"])
	require.Len(t, infos, 5)
	assert.Equal(t, TensorInfo{Name: "conv1.weight", DType: TypeF32, Shape: []int64{3}, Begin: 8, End: 20}, infos[0])
}

func TestReadSummed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.safetensors")
	require.NoError(t, Write(path, sample()))
	got, sum, err := ReadSummed(path)
	require.NoError(t, err)
	want, err := Read(path)
	require.NoError(t, err)
	assert.Equal(t, want, got)
	of, err := SHA256(path)
	require.NoError(t, err)
	assert.Equal(t, of, sum)
	_, _, err = ReadSummed(path + ".none")
	assert.ErrorContains(t, err, "cannot read the checkpoint")
}

func TestWriteRefusesAndLeavesTheOldFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.safetensors")
	require.NoError(t, Write(path, sample()))
	old, err := os.ReadFile(path)
	require.NoError(t, err)
	for want, bad := range map[string][]Tensor{
		"needs 8 bytes and has 4": {F32("w", []int64{2}, []float32{1})},
		"used twice":              {U8("w", []int64{0}, nil), U8("w", []int64{0}, nil)},
		"reserved":                {U8("__metadata__", []int64{0}, nil)},
		"unknown type":            {{Name: "w", DType: "F31", Shape: []int64{0}}},
		"impossible shape":        {{Name: "w", DType: TypeF32, Shape: []int64{-1, 0}}},
	} {
		assert.ErrorContains(t, Write(path, &File{Tensors: bad}), want)
	}
	now, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, old, now)
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	assert.Len(t, entries, 1, "no temporary file stays")
}

func FuzzRead(f *testing.F) {
	f.Add(encoded(f, sample()))
	f.Add(encoded(f, &File{}))
	f.Add(raw(`{"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 0, 0, 0, 0))
	f.Add(raw(`{"w":{"dtype":"F64","shape":[2305843009213693952,0],"data_offsets":[0,0]}}`))
	f.Add(raw(`{"w":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`))
	f.Add(binary.LittleEndian.AppendUint64(nil, math.MaxUint64))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decodeBytes(b)
		if err != nil {
			var bad *InputError
			require.ErrorAs(t, err, &bad)
			return
		}
		// What is accepted can be written, and read again as the same.
		again, err := decodeBytes(encoded(t, got))
		require.NoError(t, err)
		require.Equal(t, len(got.Tensors), len(again.Tensors))
		for i, w := range got.Tensors {
			require.Equal(t, w.Name, again.Tensors[i].Name)
			require.Equal(t, w.Shape, again.Tensors[i].Shape)
			require.True(t, bytes.Equal(w.Data, again.Tensors[i].Data))
		}
	})
}

func TestInt8(t *testing.T) {
	path := filepath.Join(t.TempDir(), "codes.safetensors")
	require.NoError(t, Write(path, &File{Tensors: []Tensor{I8("codes", []int64{2, 2}, []int8{-128, -1, 0, 127})}}))
	f, err := Read(path)
	require.NoError(t, err)
	codes, err := f.Tensors[0].Int8s()
	require.NoError(t, err)
	assert.Equal(t, []int8{-128, -1, 0, 127}, codes)
	_, err = f.Tensors[0].Bytes()
	assert.ErrorContains(t, err, "holds I8, not U8")
}
