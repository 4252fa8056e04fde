package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/trainer/checkpoint"
)

// rapt runs a command line in this process.
func rapt(args ...string) (code int, out, errOut string) {
	var o, e bytes.Buffer
	code = execute(args, &o, &e)
	return code, o.String(), e.String()
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	return path
}

const goodConfig = `
data: {dataset: digits}
model: {arch: lenet_adv}
pretrain: {epochs: 1}
`

func TestUsageErrorsExitTwoWithOneSentence(t *testing.T) {
	config := write(t, "good.yaml", goodConfig)
	misspelt := write(t, "misspelt.yaml", "data: {dataset: digits}\nmodel: {arch: lenet_adv}\npretrain: {epoch: 1}\n")
	truncated := write(t, "model.safetensors", "\x40\x00\x00\x00\x00\x00\x00\x00{\"conv1")
	empty := t.TempDir()
	for _, c := range []struct {
		line string
		says []string
	}{
		{"", []string{"a command is needed", "Available Commands"}},
		{"evl x --attacks pgd-4", []string{`there is no command "evl"`, "did you mean eval?"}},
		{"data ftch", []string{`there is no command "data ftch"`, "did you mean fetch?"}},
		{"help evl", []string{`there is no command "evl"`}},
		{"--jsn", []string{"rapt has no flag --jsn; did you mean --json?"}},
		{"eval", []string{"eval needs a RUN or CHECKPOINT"}},
		{"eval a b", []string{`eval does not take the argument "b"`}},
		{"eval x --fail-undr 0.5", []string{"eval has no flag --fail-undr; did you mean --fail-under?"}},
		{"eval x --fail-under 86", []string{"--fail-under is 86, and a fraction up to 1"}},
		{"eval x --epsilon 8/0", []string{`invalid argument "8/0" for "--epsilon"`, "8/255"}},
		{"eval x --epsilon 0", []string{"--epsilon is 0, and a number above 0"}},
		{"eval x --limit ten", []string{`invalid argument "ten" for "--limit" flag: a whole number is needed`}},
		{"eval x --n_examples=-1", []string{"--limit is -1, and at least 1 is needed"}},
		{"eval x --attacks pdg-40", []string{`--attacks: unknown attack "pdg-40", did you mean pgd-40?`}},
		{"eval x --epsilons 0,eight", []string{`--epsilons holds "eight"`, "2/255"}},
		{"eval x --curve c.csv", []string{"--curve is c.csv, and --epsilons beside it is needed"}},
		{"eval x --csv " + empty, []string{"--csv " + empty + " is a folder, and a file is needed"}},
		{"eval x --grid " + empty + "/no/such.png", []string{"there is no folder " + empty + "/no"}},
		{"eval x --source y --grid g.png", []string{"--grid is not for --source"}},
		{"eval " + empty, []string{empty, "best.safetensors"}},
		{"eval " + empty + "/none", []string{empty + "/none: there is no such checkpoint or run folder"}},
		{"eval " + truncated, []string{truncated, "truncated"}},
		{"sparsity " + truncated, []string{truncated, "truncated"}},
		{"predict " + truncated, []string{"predict needs --out FILE"}},
		{"predict " + truncated + " --out " + empty, []string{"is a folder, and a file is needed"}},
		{"predict " + truncated + " --out " + empty + "/no/such", []string{"there is no folder " + empty + "/no"}},
		{"compact " + truncated, []string{"compact needs --out FILE, the file to write the smaller model to"}},
		{"compact " + truncated + " --out " + empty, []string{"is a folder, and a file is needed"}},
		{"compact " + truncated + " --out " + empty + "/small", []string{truncated, "truncated"}},
		{"export " + truncated, []string{"export needs --out FILE, the file to write the model to"}},
		{"export " + truncated + " --out " + empty + "/model.onnx", []string{truncated, "truncated"}},
		{"run", []string{"run needs a CONFIG"}},
		{"run " + empty + "/none.yaml", []string{empty + "/none.yaml: the config cannot be read"}},
		{"run " + misspelt, []string{misspelt + ":3:", `"epochs"`}},
		{"run " + config + " --set adversary.epsilo=0.3", []string{"--set adversary.epsilo=0.3:", `did you mean "epsilon"?`}},
		{"run " + config + " --set adversary.epsilon=8", []string{"--set adversary.epsilon=8:", "did you mean 8/255?"}},
		{"run " + config + " --set nonsense", []string{"--set nonsense:"}},
		{"train " + config, []string{"train needs --stage pretrain or --stage admm or --stage retrain"}},
		{"train " + config + " --stage prune", []string{`not "prune"`}},
		{"data fetch", []string{"fetch needs a DATASET"}},
		{"data verify mnst", []string{`unknown data set "mnst"; did you mean "mnist"?`}},
		{"data verify mnist --dir " + empty, []string{"rapt data fetch mnist"}},
		{"doctor " + misspelt, []string{misspelt + ":3:"}},
		{"version 2", []string{`version does not take the argument "2"`}},
	} {
		code, out, errOut := rapt(strings.Fields(c.line)...)
		assert.Equal(t, exitUsage, code, c.line)
		for _, text := range c.says {
			assert.Contains(t, errOut, text, c.line)
		}
		lines := strings.Split(strings.TrimSpace(errOut), "\n")
		assert.Regexp(t, "^rapt: ", lines[len(lines)-1], c.line)
		if !strings.HasPrefix(c.line, "data verify") { // that one shows the files before it says what is wrong
			assert.Empty(t, out, c.line)
		}
		if c.line != "" {
			assert.Len(t, lines, 1, c.line)
		}
	}
}

func TestEveryProblemOfAConfigIsALine(t *testing.T) {
	config := write(t, "bad.yaml", "data: {dataset: digits, bath_size: 3}\nmodel: {arch: lenet_adv}\npretrain: {epoch: 1}\n")
	code, _, errOut := rapt("run", config)
	assert.Equal(t, exitUsage, code)
	lines := strings.Split(strings.TrimSpace(errOut), "\n")
	require.Len(t, lines, 2)
	assert.Contains(t, lines[0], "rapt: "+config+":1: ")
	assert.Contains(t, lines[1], "rapt: "+config+":3: ")
}

func TestHelpOfEveryCommandHasAnExample(t *testing.T) {
	for _, command := range []string{"", "run", "train", "eval", "compare", "transfer", "sparsity", "compact", "export", "report", "predict", "data", "data fetch", "data verify", "doctor"} {
		for _, line := range []string{command + " --help", "help " + command} {
			code, out, errOut := rapt(strings.Fields(line)...)
			assert.Zero(t, code, line)
			assert.Empty(t, errOut, line)
			assert.Contains(t, out, "Examples:\n  rapt "+command, line)
		}
	}
	code, out, _ := rapt("version", "--help")
	assert.Zero(t, code)
	assert.Contains(t, out, "versions of rapt, Go and libtorch")
}

func TestCommandsAreListedByImportance(t *testing.T) {
	_, out, _ := rapt("--help")
	at := -1
	for _, name := range []string{"run", "train", "eval", "sparsity", "compact", "export", "report", "predict", "data", "doctor", "version"} {
		next := strings.Index(out, "\n  "+name+" ")
		assert.Greater(t, next, at, name)
		at = next
	}
}

func TestVersionJSON(t *testing.T) {
	code, out, errOut := rapt("version", "--json")
	assert.Zero(t, code)
	assert.Empty(t, errOut)
	var v struct{ Version, Go, Libtorch string }
	require.NoError(t, json.Unmarshal([]byte(out), &v))
	assert.Equal(t, version, v.Version)
	assert.Regexp(t, `^go1\.`, v.Go)
	assert.Regexp(t, `^\d+\.\d+`, v.Libtorch)
	_, out, _ = rapt("version")
	assert.Contains(t, out, "libtorch "+v.Libtorch)
}

func TestDrawnDataNeedsNoFetch(t *testing.T) {
	for _, line := range []string{"data fetch digits", "data verify digits"} {
		code, out, errOut := rapt(strings.Fields(line)...)
		assert.Zero(t, code, line)
		assert.Equal(t, "digits: drawn by the program, no files needed\n", out, line)
		assert.Empty(t, errOut, line)
	}
}

func TestFetchSaysWhatItWaitsFor(t *testing.T) {
	var errOut bytes.Buffer
	(&downloads{app: &app{err: &errOut}}).wait("/srv/x.gz")
	assert.Equal(t, "rapt: another process is fetching /srv/x.gz: waiting for it\n", errOut.String())
}

func TestDataStates(t *testing.T) {
	dir := filepath.Dir(write(t, "cifar10-jpeg.tar.xz", "x"))
	code, out, errOut := rapt("data", "--dir", dir)
	assert.Zero(t, code)
	assert.Empty(t, errOut)
	assert.Regexp(t, `cifar10 +in .*, in a form of which no checksum is published\n`, out)
	assert.Regexp(t, `image_folder +your own images`, out)
	assert.Regexp(t, `svhn +not \(completely\) in .*; get it with: rapt data fetch svhn\n`, out)
	code, out, errOut = rapt("data", "verify", "cifar10", "--dir", dir)
	assert.Equal(t, exitUsage, code)
	assert.Regexp(t, `cifar10-jpeg.tar.xz +unchecked`, out)
	assert.Contains(t, errOut, "cannot be checked")
}

func TestVerifyOfWrongContentExitsThree(t *testing.T) {
	path := write(t, "t10k-labels-idx1-ubyte", "not the labels")
	dir := filepath.Dir(path)
	code, out, errOut := rapt("data", "verify", "mnist", "--dir", dir)
	assert.Equal(t, exitUnproved, code)
	assert.Regexp(t, `t10k-labels-idx1-ubyte.gz +WRONG`, out)
	assert.Contains(t, errOut, path)

	code, out, _ = rapt("data", "verify", "mnist", "--dir", dir, "--json")
	assert.Equal(t, exitUnproved, code)
	var state dataState
	require.NoError(t, json.Unmarshal([]byte(out), &state))
	assert.Equal(t, "damaged", state.State)
	assert.False(t, state.OK)
	assert.Len(t, state.Files, 4)

	code, _, errOut = rapt("data", "fetch", "mnist", "--dir", dir)
	assert.Equal(t, exitUnproved, code, "what is there with other content is left alone, before any download")
	assert.Contains(t, errOut, path)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "not the labels", string(content))
}

func TestVerifyOfTheRealFiles(t *testing.T) {
	dir := os.Getenv("RAPT_DATA_DIR")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
	}
	if _, err := os.Stat(filepath.Join(dir, "mnist")); err != nil {
		t.Skip("needs the MNIST files in $RAPT_DATA_DIR/mnist: rapt data fetch mnist")
	}
	code, out, errOut := rapt("data", "verify", "mnist", "--dir", dir)
	assert.Zero(t, code, errOut)
	assert.Equal(t, 4, strings.Count(out, "ok"))
	_, out, _ = rapt("data", "--dir", dir)
	assert.Regexp(t, `mnist +complete, checksums right`, out)
}

func TestForeignCheckpointIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "foreign.safetensors")
	require.NoError(t, checkpoint.Write(path, &checkpoint.File{Tensors: []checkpoint.Tensor{checkpoint.F32("w", []int64{1}, []float32{1})}}))
	for _, command := range []string{"eval", "sparsity"} {
		code, _, errOut := rapt(command, path)
		assert.Equal(t, exitUsage, code)
		assert.Contains(t, errOut, "not a checkpoint of rapt")
	}
}

func TestAFaultIsOneSentence(t *testing.T) {
	var errOut bytes.Buffer
	a := &app{err: &errOut}
	t.Setenv("RAPT_DEBUG", "")
	assert.Equal(t, exitFailed, a.fault("index out of range", []byte("goroutine 1")))
	assert.Regexp(t, `^rapt: .*bug of rapt's.*index out of range.*\n$`, errOut.String())
	t.Setenv("RAPT_DEBUG", "1")
	a.fault("index out of range", []byte("goroutine 1"))
	assert.Contains(t, errOut.String(), "goroutine 1")
}

func TestFraction(t *testing.T) {
	assert.Equal(t, "0.3", fraction(0.3))
	assert.Equal(t, "0.0313725 (8/255)", fraction(8.0/255))
	assert.Equal(t, "1 (255/255)", fraction(1))
	assert.Equal(t, "0.01", fraction(0.01))
}
