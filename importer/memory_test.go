package importer_test

import (
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"rapt/importer"
	"rapt/trainer/checkpoint"
)

// allocated is how much memory was taken while f ran, freed or not.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func fileOf(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	return path
}

// TestHostileCheckpointsTakeLittleMemory: what a checkpoint claims, or packs to nearly nothing, is not allocated.
func TestHostileCheckpointsTakeLittleMemory(t *testing.T) {
	floats := strings.Repeat("\x00\x00\x80\x3f", 4)
	zeros := strings.Repeat("\x00", 64<<20)
	huge := strings.Replace(good, "K\x04tQ", "\x8a\x05\x00\x00\x00\x00\x40tQ", 1) // 2^38 floats
	sixteen := strings.Replace(good, "K\x04tQ", "J\x00\x00\x00\x01tQ", 1)         // 2^24 floats
	many := make([]inner, 20_000)
	for i := range many {
		many[i].name = "m/" + strings.Repeat("x", i%50) + string(rune('a'+i%26)) + strings.Repeat("y", i/50)
	}
	for name, c := range map[string]struct {
		content, problem string
		most             uint64
	}{
		"claimed storage":     {packed(t, inner{"m/data.pkl", huge}, inner{"m/data/0", floats}), "should have 1099511627776 bytes and has 16", 1 << 20},
		"claimed, legacy":     {magic + huge + "](" + text("0") + "e." + "\x00\x00\x00\x00\x40\x00\x00\x00" + floats, "is truncated", 1 << 20},
		"packed storage":      {packed(t, inner{"m/data.pkl", sixteen}, inner{"m/data/0", zeros}), "packed more than 100 times smaller", 1 << 20},
		"packed pickle":       {packed(t, inner{"m/data.pkl", zeros + "."}, inner{"m/data/0", floats}), "0x00 is no opcode", 1 << 20},
		"a pickle of strings": {packed(t, inner{"m/data.pkl", "B\x00\x00\x00\x05" + zeros}, inner{"m/data/0", floats}), "claims a value of 83886080 bytes", 1 << 20},
		"a pickle of lists":   {packed(t, inner{"m/data.pkl", strings.Repeat("]", 4<<20)}, inner{"m/data/0", floats}), "holds more than 2000000 values", 256 << 20},
		"many files":          {packed(t, many...), "holds no data.pkl", 64 << 20},
		"directory":           {"PK\x03\x04" + strings.Repeat("\x00", 100) + "PK\x05\x06\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00", "truncated or damaged", 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			path := fileOf(t, c.content)
			var err error
			used := allocated(func() {
				var d *importer.StateDict
				if d, err = importer.ReadPyTorch(path); err == nil {
					d.Close()
				}
			})
			var input *checkpoint.InputError
			require.ErrorAs(t, err, &input)
			require.ErrorContains(t, err, c.problem)
			require.Less(t, used, c.most)
		})
	}
}

// TestStorageThatLiesInItsDirectory: the size in the zip's directory is not the one that unpacks.
func TestStorageThatLiesInItsDirectory(t *testing.T) {
	sixteen := strings.Replace(good, "K\x04tQ", "J\x00\x00\x00\x01tQ", 1)
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create("m/data.pkl")
	require.NoError(t, err)
	_, err = w.Write([]byte(sixteen))
	require.NoError(t, err)
	w, err = z.CreateRaw(&zip.FileHeader{Name: "m/data/0", Method: zip.Store, UncompressedSize64: 64 << 20, CompressedSize64: 64 << 20})
	require.NoError(t, err)
	_, err = w.Write(make([]byte, 100))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	path := fileOf(t, b.String())
	used := allocated(func() {
		d, err := importer.ReadPyTorch(path)
		if err == nil {
			defer d.Close()
			_, err = d.Tensors[0].Convert(checkpoint.TypeF32)
		}
		require.ErrorContains(t, err, "damaged")
	})
	require.Less(t, used, uint64(1<<20))
}

// TestHostileConfigsTakeLittleMemory: aliases are not multiplied out, and neither depth nor length costs more than a config may.
func TestHostileConfigsTakeLittleMemory(t *testing.T) {
	laughs := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		laughs += strings.NewReplacer("NEW", string(rune('1'+i)), "OLD", string(rune('0'+i))).Replace("aNEW: &aNEW [*aOLD, *aOLD, *aOLD, *aOLD, *aOLD, *aOLD, *aOLD, *aOLD, *aOLD, *aOLD]\n")
	}
	for name, c := range map[string]struct {
		content, problem string
		most             uint64
	}{
		"billion laughs":   {laughs + "general: *a9\n", "", 4 << 20},
		"laughs in values": {laughs + "general: {arch: *a9, sparsity_type: *a9}\npretrain: {epochs: *a9}\nadmm: {rho: *a9}\n", "", 4 << 20},
		"itself":           {"general: &g {arch: *g, sparsity_type: *g}\n", "", 1 << 20},
		"100 MB":           {"general: {}\n#" + strings.Repeat("x", 100<<20), "is larger than 1 MiB", 8 << 20},
		"deep":             {strings.Repeat("[", 1<<20-1), "is not valid YAML", 64 << 20},
		"deep mappings":    {strings.Repeat("{a: ", 200_000), "is not valid YAML", 64 << 20},
		"many keys":        {"general:\n" + strings.Repeat("  a: 1\n", 140_000), "", 256 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			path := fileOf(t, c.content)
			var err error
			used := allocated(func() { _, err = importer.ReadConfig(path, "") })
			var input *checkpoint.InputError
			require.ErrorAs(t, err, &input)
			require.ErrorContains(t, err, c.problem)
			require.Less(t, len(err.Error()), 20_000)
			require.Less(t, used, c.most)
		})
	}
}
