package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	oldModel  = "../../trainer/testdata/import/lenet_adv.pt"
	oldConfig = "../../importer/testdata/mnist.yaml"
)

func TestImportOfACheckpoint(t *testing.T) {
	out := filepath.Join(t.TempDir(), "lenet.safetensors")
	code, text, notes := rapt("import", oldModel, "--out", out, "--dataset", "digits")
	require.Equal(t, exitDone, code, notes)
	assert.Equal(t, out+": lenet_adv (width 2) for digits, 52506 parameters\n", text)
	assert.Contains(t, notes, "note: the tensors are those of lenet_adv of width 2\n")
	code, text, notes = rapt("eval", out, "--limit", "50", "--attacks", "pgd-1", "--device", "cpu", "--json")
	require.Equal(t, exitDone, code, notes)
	var report struct {
		Arch       string
		Parameters int
	}
	require.NoError(t, json.Unmarshal([]byte(text), &report))
	assert.Equal(t, "lenet_adv", report.Arch)
	assert.Equal(t, 52506, report.Parameters)

	code, text, _ = rapt("import", oldModel, "--out", out, "--json")
	require.Equal(t, exitDone, code)
	var done struct {
		Out, Dataset string
		Notes        []string
	}
	require.NoError(t, json.Unmarshal([]byte(text), &done))
	assert.Equal(t, []any{out, "mnist", 3}, []any{done.Out, done.Dataset, len(done.Notes)})
}

// TestImportWritesBesideTheModel, and does not write over what is there unless told to.
func TestImportWritesBesideTheModel(t *testing.T) {
	b, err := os.ReadFile(oldModel)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "net.v1.pt")
	require.NoError(t, os.WriteFile(path, b, 0o644))
	code, _, notes := rapt("import", path)
	require.Equal(t, exitDone, code, notes)
	out := filepath.Join(filepath.Dir(path), "net.v1.safetensors")
	require.FileExists(t, out)
	code, _, notes = rapt("import", path)
	require.Equal(t, exitUsage, code)
	assert.Equal(t, "rapt: "+out+" is there already: --out has to name the file to write\n", notes)
}

func TestImportOfAConfig(t *testing.T) {
	code, text, notes := rapt("import", oldConfig, "--dataset", "digits")
	require.Equal(t, exitDone, code, notes)
	assert.Contains(t, text, "dataset: digits")
	assert.Contains(t, notes, "note: training.method is pgd")
	out := filepath.Join(t.TempDir(), "new.yaml")
	code, said, _ := rapt("import", oldConfig, "--dataset", "digits", "--out", out)
	require.Equal(t, exitDone, code)
	assert.Contains(t, said, "rapt plan "+out)
	b, err := os.ReadFile(out)
	require.NoError(t, err)
	assert.Equal(t, text, string(b))
	code, _, notes = rapt("plan", out, "--no-measure", "--set", "run.device=cpu")
	require.Equal(t, exitDone, code, notes)
	code, _, notes = rapt("import", out)
	require.Equal(t, exitUsage, code)
	assert.Contains(t, notes, "rapt run takes it as it is")
}

func TestImportRefuses(t *testing.T) {
	magic := "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19." + "\x80\x02M\xe9\x03." + "}."
	owned := filepath.Join(t.TempDir(), "owned")
	hostile := write(t, "hostile.pt", magic+"cos\nsystem\n(S'touch "+owned+"'\ntR.")
	lr := write(t, "lr.yaml", strings.Replace(string(must(os.ReadFile(oldConfig))), " lr: 0.01\n", " lr: 0\n", 1))
	for line, says := range map[string]string{
		"import":                              "import needs a MODEL.pt, NET.onnx or CONFIG.yaml",
		"import " + hostile:                   "os.system is not allowed here",
		"import " + hostile + ".none":         "cannot be read: no such file",
		"import " + oldConfig + " --arch x":   "--arch is for checkpoints",
		"import " + oldModel + " --width 0":   "--width is 0, and at least 1",
		"import " + oldModel + " --out /no/x": "there is no folder /no",
		"import " + oldModel + " --arch lenet --out " + filepath.Dir(hostile) + "/x": "no checkpoint of lenet; ",
		"import " + lr: "admm.lr is 0",
	} {
		code, out, errOut := rapt(strings.Fields(line)...)
		assert.Equal(t, exitUsage, code, line)
		assert.Empty(t, out, line)
		assert.Contains(t, errOut, says, line)
	}
	require.NoFileExists(t, owned)
	left, err := os.ReadDir(filepath.Dir(hostile))
	require.NoError(t, err)
	require.Len(t, left, 1, "nothing was written")
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
