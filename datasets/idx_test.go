package datasets

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// idxFile returns an IDX file of unsigned bytes.
func idxFile(data []byte, dims ...uint32) []byte {
	out := []byte{0, 0, 8, byte(len(dims))}
	for _, d := range dims {
		out = binary.BigEndian.AppendUint32(out, d)
	}
	return append(out, data...)
}

func gzipped(t testing.TB, data []byte, level int) []byte {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, level)
	require.NoError(t, err)
	_, err = z.Write(data)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return b.Bytes()
}

func TestReadIDX(t *testing.T) {
	dims, data, err := ReadIDX(bytes.NewReader(idxFile([]byte{1, 2, 3, 4, 5, 6}, 3, 2)))
	require.NoError(t, err)
	assert.Equal(t, []int{3, 2}, dims)
	assert.Equal(t, []byte{1, 2, 3, 4, 5, 6}, data)

	long := bytes.Repeat([]byte{1, 2, 3}, 1<<20)
	dims, data, err = ReadIDX(bytes.NewReader(idxFile(long, 3<<20)))
	require.NoError(t, err)
	assert.Equal(t, []int{3 << 20}, dims)
	assert.Equal(t, long, data)
}

func TestReadIDXRefuses(t *testing.T) {
	good := idxFile([]byte{1, 2, 3, 4}, 4)
	for name, c := range map[string]struct {
		file []byte
		says string
	}{
		"empty":            {nil, "ends within its IDX header"},
		"header cut":       {good[:6], "ends within its IDX header"},
		"foreign":          {[]byte("\x89PNG\r\n\x1a\n"), "no IDX file"},
		"float elements":   {append([]byte{0, 0, 0x0d}, good[3:]...), "element type is 0xd"},
		"no dimensions":    {[]byte{0, 0, 8, 0}, "gives 0 dimensions"},
		"many dimensions":  {[]byte{0, 0, 8, 200}, "gives 200 dimensions"},
		"empty dimension":  {idxFile(nil, 0), "dimension 1 is 0"},
		"product too big":  {idxFile(nil, 1<<16, 1<<16), "dimension 2 is 65536"},
		"product overflow": {idxFile(nil, 1<<30, 1<<31, 1<<31), "dimension 2 is"},
		"truncated":        {good[:len(good)-1], "truncated: its header announces 4 bytes of content and 3 are there"},
		"trailing":         {append(good, 9), "bytes after the 4"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := ReadIDX(bytes.NewReader(c.file))
			assert.ErrorContains(t, err, c.says)
		})
	}
}

func TestReadIDXMemoryFollowsTheInput(t *testing.T) {
	liar := idxFile(make([]byte, 100), 1<<30)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _, err := ReadIDX(bytes.NewReader(liar))
	runtime.ReadMemStats(&after)
	require.Error(t, err)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8<<20), "a header of 1 GiB over 100 bytes must not allocate")
}

func TestContentIsUnpackedByItsBytesNotItsName(t *testing.T) {
	want := idxFile([]byte{1, 2, 3}, 3)
	for name, raw := range map[string][]byte{"plain.gz": want, "packed": gzipped(t, want, 6)} {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, raw, 0o644))
		r, err := openContent(path)
		require.NoError(t, err)
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		assert.Equal(t, want, got)
	}
}

func FuzzIDX(f *testing.F) {
	good := idxFile([]byte{1, 2, 3, 4, 5, 6, 7, 8}, 2, 2, 2)
	f.Add(good)
	f.Add(good[:7])
	f.Add(append(bytes.Clone(good), 0))
	f.Add(idxFile(nil, 1<<30))
	f.Add(idxFile(nil, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff))
	f.Add(idxFile([]byte{1}, 0, 1))
	f.Add([]byte{0, 0, 13, 1, 0, 0, 0, 1})
	f.Add([]byte("not IDX at all"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		dims, data, err := ReadIDX(bytes.NewReader(raw))
		if err != nil {
			assert.Nil(t, data)
			return
		}
		product := 1
		sizes := make([]uint32, len(dims))
		for i, d := range dims {
			product *= d
			sizes[i] = uint32(d)
		}
		require.Len(t, data, product)
		require.Equal(t, raw, idxFile(data, sizes...), "what was read must write the same file")
	})
}
