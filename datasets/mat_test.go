package datasets

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// matPiece is an element: its tag and data, padded to 8 bytes; up to 4 bytes go into the tag where small is set.
func matPiece(kind uint32, data []byte, small bool) []byte {
	if small {
		out := binary.LittleEndian.AppendUint32(nil, uint32(len(data))<<16|kind)
		return append(append(out, data...), make([]byte, 4-len(data))...)
	}
	out := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, kind), uint32(len(data)))
	return append(append(out, data...), make([]byte, -len(data)&7)...)
}

// matVariable is an array of the MAT-file, as MATLAB writes it.
func matVariable(name string, class byte, kind uint32, data []byte, dims ...uint32) []byte {
	var shape []byte
	for _, d := range dims {
		shape = binary.LittleEndian.AppendUint32(shape, d)
	}
	body := bytes.Join([][]byte{matPiece(matUint32, []byte{class, 0, 0, 0, 0, 0, 0, 0}, false), matPiece(matInt32, shape, false),
		matPiece(matInt8, []byte(name), len(name) <= 4), matPiece(kind, data, len(data) <= 4)}, nil)
	return matPiece(matMatrix, body, false)
}

func matPacked(t testing.TB, element []byte) []byte {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	_, err := z.Write(element)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	out := binary.LittleEndian.AppendUint32(nil, matCompressed)
	return append(binary.LittleEndian.AppendUint32(out, uint32(b.Len())), b.Bytes()...) // packed ones are not padded
}

func matFile(elements ...[]byte) []byte {
	header := append(bytes.Repeat([]byte(" "), 116), make([]byte, 8)...)
	copy(header, "MATLAB 5.0 MAT-file, written by a test")
	return append(append(header, "\x00\x01IM"...), bytes.Join(elements, nil)...)
}

// toySVHN has n images; the value at row r, column c of channel k of image i is 32*c + r + k + i, and the labels are given.
func toySVHN(labels ...byte) (x, y []byte) {
	var data []byte
	for i := range labels {
		for k := range 3 {
			for c := range 32 {
				for r := range 32 {
					data = append(data, byte(32*c+r+k+i))
				}
			}
		}
	}
	n := uint32(len(labels))
	return matVariable("X", 9, 2, data, 32, 32, 3, n), matVariable("y", 6, 2, labels, n, 1)
}

func TestSVHN(t *testing.T) {
	x, y := toySVHN(1, 10, 5)
	tx, ty := toySVHN(9)
	doubles := binary.LittleEndian.AppendUint64(nil, math.Float64bits(9))
	extra := matVariable("note", 4, 4, []byte("hi"), 1, 1)
	for name, files := range map[string][2][]byte{
		"packed":       {matFile(matPacked(t, x), matPacked(t, y)), matFile(matPacked(t, tx), matPacked(t, ty))},
		"plain":        {matFile(x, y), matFile(tx, ty)},
		"other order":  {matFile(y, x), matFile(ty, tx)},
		"and others":   {matFile(extra, matPacked(t, x), matPacked(t, extra), y), matFile(tx, ty, extra)},
		"real doubles": {matFile(x, y), matFile(tx, matVariable("y", 6, 9, doubles, 1, 1))},
	} {
		dir := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(dir, "svhn"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "svhn", "train_32x32.mat"), files[0], 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "svhn", "test_32x32.mat"), files[1], 0o644))
		parts, err := Load(context.Background(), Options{Dataset: "svhn", Dir: dir})
		require.NoError(t, err, name)
		train := parts.Train
		assert.Equal(t, [5]int{3, 3, 32, 32, 10}, [5]int{train.N, train.C, train.H, train.W, train.Classes})
		assert.Equal(t, []uint16{1, 0, 5}, train.Labels, "10 is the digit 0")
		assert.Equal(t, []uint16{9}, parts.Test.Labels)
		for i := range 3 {
			for at, v := range train.Bytes()[i*3072 : (i+1)*3072] {
				k, r, c := at/1024, at/32%32, at%32
				require.Equal(t, byte(32*c+r+k+i), v)
			}
		}
	}
}

func TestSVHNRefusesBadFiles(t *testing.T) {
	x, y := toySVHN(1, 2)
	good := matFile(matPacked(t, x), matPacked(t, y))
	version := func(v string) []byte { return append(append(bytes.Clone(good[:124]), v...), good[128:]...) }
	badY := func(labels ...byte) []byte { return matFile(x, matVariable("y", 6, 2, labels, uint32(len(labels)), 1)) }
	half := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, math.Float64bits(0.5)), 0)
	for name, c := range map[string]struct {
		raw  []byte
		says string
	}{
		"empty":           {nil, "truncated"},
		"header cut":      {good[:100], "truncated"},
		"cut":             {good[:len(good)-20], "truncated"},
		"plain, cut":      {matFile(x, y)[:5000], "truncated"},
		"foreign":         {bytes.Repeat([]byte("<html>"), 50), "no little-endian MAT-file"},
		"big-endian":      {version("\x01\x00MI"), "no little-endian MAT-file"},
		"HDF5":            {version("\x00\x02IM"), "version 7.3"},
		"zlib":            {flip(good, len(good)-2), "corrupt"},
		"zlib header":     {flip(good, 136), "corrupt"},
		"no y":            {matFile(x), "no array y"},
		"twice":           {matFile(x, x, y), "there twice"},
		"label 0":         {badY(0, 1), "label 0 of image 0 is out of range"},
		"label 11":        {badY(1, 11), "label 11 of image 1 is out of range"},
		"half a label":    {matFile(x, matVariable("y", 6, 9, half, 2, 1)), "0.5 is no whole number"},
		"too few labels":  {badY(1), "a label for each image"},
		"greyscale":       {matFile(matVariable("X", 9, 2, make([]byte, 2048), 32, 32, 1, 2), y), "should be bytes of the shape [32 32 3 n]"},
		"doubles":         {matFile(matVariable("X", 6, 2, make([]byte, 6144), 32, 32, 3, 2), y), "should be bytes"},
		"complex":         {matFile(matPiece(matMatrix, bytes.Replace(x[8:], []byte{9, 0, 0, 0}, []byte{9, 8, 0, 0}, 1), false), y), "not of real numbers"},
		"a cell array":    {matFile(matVariable("X", 1, 2, nil, 1, 1), y), "not of real numbers (class 1)"},
		"wrong count":     {matFile(matVariable("X", 9, 2, make([]byte, 100), 32, 32, 3, 2), y), "want 6144 numbers, and there are 100 bytes"},
		"huge":            {matFile(matVariable("X", 9, 2, nil, 1<<30, 1<<30, 3, 2), y), "dimension of 1073741824"},
		"negative":        {matFile(matVariable("X", 9, 2, nil, 32, 1<<31, 3, 2), y), "dimension of -2147483648"},
		"another element": {matFile(matPiece(2, []byte{1}, false)), "element of type 2 where an array is due"},
		"packed twice":    {matFile(matPacked(t, matPacked(t, x))), "packed element of type 15"},
		"damaged tag":     {matFile(matPiece(matMatrix, binary.LittleEndian.AppendUint64(nil, 0xff0006), false)), "damaged tag"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "train_32x32.mat"), c.raw, 0o644))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "test_32x32.mat"), good, 0o644))
			_, err := Load(context.Background(), Options{Dataset: "svhn", Dir: dir})
			var input *InputError
			require.ErrorAs(t, err, &input)
			assert.ErrorContains(t, err, c.says)
			assert.ErrorContains(t, err, "train_32x32.mat")
		})
	}
}

func TestMATMemoryFollowsTheInput(t *testing.T) {
	x, y := toySVHN(1)
	liar := matVariable("X", 9, 2, nil, 1<<10, 1<<10, 1<<10)
	liar = append(liar[:len(liar)-8], binary.LittleEndian.AppendUint64(nil, 2|1<<62)...) // 1 GiB announced, none there
	for _, raw := range [][]byte{matFile(x, y), matFile(liar), matFile(matPacked(t, liar))} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = readSVHN(bufio.NewReader(bytes.NewReader(raw)))
		runtime.ReadMemStats(&after)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<20))
	}
}

func FuzzMAT(f *testing.F) {
	x, y := toySVHN(3)
	f.Add(matFile(x, y))
	f.Add(matFile(matPacked(f, x), matPacked(f, y)))
	f.Add(matFile(matVariable("X", 9, 2, nil, 1<<30, 1<<30, 3, 2)))
	f.Add(matFile(x[:100]))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := readSVHN(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return
		}
		require.Len(t, s.Bytes(), s.N*3072)
		for _, label := range s.Labels {
			require.Less(t, label, uint16(10))
		}
	})
}

// A few bytes that unpack to many are refused before they are.
func TestMATBombIsRefused(t *testing.T) {
	measures(t)
	bomb := matFile(matPacked(t, matVariable("y", 6, 9, make([]byte, 64<<20), 8<<20, 1)))
	require.Less(t, len(bomb), 1<<17)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := readMAT(bytes.NewReader(bomb), "y")
	runtime.ReadMemStats(&after)
	require.ErrorContains(t, err, "64 times its own")
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8<<20))
}
