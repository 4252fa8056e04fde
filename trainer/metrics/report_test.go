package metrics

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLayerOf(t *testing.T) {
	// [3 filters, 2x2 the rest]: filter 1 is zero, column 2 is zero; -0 is zero.
	minus := float32(0)
	minus = -minus
	l := LayerOf("conv1.weight", []int64{3, 2, 1, 2}, []float32{
		1, 0, 0, 2,
		0, 0, minus, 0,
		3, 4, 0, 0,
	})
	assert.Equal(t, LayerSparsity{Name: "conv1.weight", Shape: []int64{3, 2, 1, 2}, Numel: 12, Zeros: 8,
		Sparsity: 8. / 12, Filters: 3, ZeroFilters: 1, Columns: 4, ZeroColumns: 1,
		MaskSHA256: fmt.Sprintf("%x", sha256.Sum256([]byte{1, 0, 0, 1, 0, 0, 0, 0, 1, 1, 0, 0}))}, l)

	bn := LayerOf("bn1.weight", []int64{4}, []float32{0, 1, 0, 1})
	assert.Equal(t, []int64{4, 2, 1, 0}, []int64{bn.Filters, bn.ZeroFilters, bn.Columns, bn.ZeroColumns})
	assert.Equal(t, 0.5, bn.Sparsity)

	scalar := LayerOf("x", nil, []float32{0})
	assert.Equal(t, []int64{1, 1, 1, 1}, []int64{scalar.Filters, scalar.ZeroFilters, scalar.Columns, scalar.ZeroColumns})
	assert.Equal(t, LayerSparsity{Name: "e", Shape: []int64{0, 3}}, LayerOf("e", []int64{0, 3}, nil))
}

func TestSummarise(t *testing.T) {
	s := Summarise("irregular", []LayerSparsity{
		LayerOf("a", []int64{2, 2}, []float32{1, 0, 0, 0}),
		LayerOf("b", []int64{2, 3}, []float32{1, 0, 0, 0, 0, 0}),
	})
	assert.Equal(t, []int64{10, 8}, []int64{s.Weights, s.Zeros})
	assert.InDelta(t, 0.8, s.Sparsity, 1e-15)
	assert.InDelta(t, 5, s.Compression, 1e-15)
	assert.Zero(t, Summarise("filter", []LayerSparsity{LayerOf("a", []int64{2}, []float32{0, 0})}).Compression)
	none := Summarise("irregular", nil)
	assert.Equal(t, 1.0, none.Compression)
	b, err := json.Marshal(none)
	require.NoError(t, err)
	assert.Contains(t, string(b), `"layers":[]`)
}

func keys(t *testing.T, v any) []string {
	b, err := json.Marshal(v)
	require.NoError(t, err)
	var names []string
	dec := json.NewDecoder(bytes.NewReader(b))
	depth, key := 0, true
	for {
		tok, err := dec.Token()
		if err != nil {
			return names
		}
		switch tok := tok.(type) {
		case json.Delim:
			if tok == '{' || tok == '[' {
				depth++
			} else {
				depth--
			}
			key = true
		default:
			if depth == 1 && key {
				names = append(names, tok.(string))
			}
			if depth == 1 {
				key = !key
			}
		}
	}
}

func sampleReport() *Report {
	clean, worst := 0.97, 0.86
	return &Report{Schema: 1, Name: "r", CleanAccuracy: &clean, WorstCaseAccuracy: &worst,
		RobustAccuracy: map[string]float64{"pgd-40": 0.86},
		Stages: []StageResult{
			{Stage: "pretrain", Seconds: 12.34, CleanAccuracy: 0.98125, RobustAccuracy: map[string]float64{"pgd-40": 0.881}, Compression: 1},
			{Stage: "retrain", Seconds: 3723, CleanAccuracy: 0.97, RobustAccuracy: map[string]float64{"pgd-40": 0.86}, Sparsity: 0.9, Compression: 10},
		},
		Baselines: []StageResult{{Stage: "natural", CleanAccuracy: 0.99, Compression: 1}},
		Sparsity:  Summarise("irregular", []LayerSparsity{LayerOf("fc1.weight", []int64{2, 2}, []float32{0, 0, 0, 4})}),
	}
}

func TestReportHasTheContractsShape(t *testing.T) {
	r := sampleReport()
	assert.Equal(t, []string{"schema", "name", "dataset", "arch", "width", "method", "parameters", "clean_accuracy",
		"robust_accuracy", "worst_case_accuracy", "stages", "baselines", "sparsity", "seed", "version"}, keys(t, r))
	assert.Equal(t, []string{"stage", "epochs", "seconds", "images_per_second", "clean_accuracy", "robust_accuracy",
		"loss", "sparsity", "compression"}, keys(t, r.Stages[0]))
	assert.Equal(t, []string{"type", "weights", "zeros", "sparsity", "compression", "layers"}, keys(t, r.Sparsity))
	assert.Equal(t, []string{"name", "shape", "numel", "zeros", "sparsity", "filters", "zero_filters", "columns",
		"zero_columns", "mask_sha256"}, keys(t, r.Sparsity.Layers[0]))
	r.Stages, r.Baselines, r.WorstCaseAccuracy = nil, nil, nil
	assert.NotContains(t, keys(t, r), "stages")
	assert.NotContains(t, keys(t, r), "worst_case_accuracy")
	var back Report
	b, err := json.Marshal(sampleReport())
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &back))
	assert.Equal(t, sampleReport(), &back)
}

// cells returns the words of the table's line that begins with name.
func cells(t *testing.T, out, name string) []string {
	for _, line := range strings.Split(out, "\n") {
		f := strings.Fields(strings.ReplaceAll(line, "|", " "))
		if len(f) > 0 && f[0] == name {
			return f
		}
	}
	t.Fatalf("no line %q in\n%s", name, out)
	return nil
}

func TestTables(t *testing.T) {
	var b bytes.Buffer
	Table(&b, sampleReport())
	assert.Equal(t, []string{"stage", "clean", "%", "pgd-40", "%", "pruned", "%", "compression", "time"}, cells(t, b.String(), "stage"))
	assert.Equal(t, []string{"pretrain", "98.12", "88.10", "0.00", "1.00x", "12.3s"}, cells(t, b.String(), "pretrain"))
	assert.Equal(t, []string{"retrain", "97.00", "86.00", "90.00", "10.00x", "1h2m3s"}, cells(t, b.String(), "retrain"))
	assert.Equal(t, []string{"natural", "99.00", "-", "0.00", "1.00x", "0.0s"}, cells(t, b.String(), "natural"))
	assert.NotContains(t, b.String(), "\x1b", "no colours")

	b.Reset()
	SparsityTable(&b, sampleReport().Sparsity)
	assert.Equal(t, []string{"fc1.weight", "4", "75.00", "25.00", "4.00x", "1/2", "1/2"}, cells(t, b.String(), "fc1.weight"))
	assert.Equal(t, []string{"total", "4", "75.00", "25.00", "4.00x"}, cells(t, b.String(), "total"))
}

func TestADMMInTheReport(t *testing.T) {
	r := sampleReport()
	var b bytes.Buffer
	ADMMTable(&b, r)
	assert.Empty(t, b.String(), "no stage, no table")
	r.Stages = append(r.Stages, StageResult{Stage: "admm", ADMM: &ADMM{Updates: 3, Rho: 0.5, Layers: []ADMMLayer{
		{Name: "conv1.weight", Primal: 0.005, Dual: 0.0012, Energy: 0.00002, Converged: true},
		{Name: "fc1.weight", Primal: 0.25, Dual: 0, Energy: 0.0625, Advice: "more epochs"},
	}, HardPruneCleanAccuracy: 0.9, HardPruneRobustAccuracy: 0.8}})
	ADMMTable(&b, r)
	assert.Equal(t, []string{"layer", "stage", "primal", "%", "dual", "%", "cut", "energy", "%", "converged"}, cells(t, b.String(), "layer"))
	assert.Equal(t, []string{"conv1.weight", "admm", "0.50", "0.12", "0.00", "yes"}, cells(t, b.String(), "conv1.weight"))
	assert.Equal(t, []string{"fc1.weight", "admm", "25.00", "0.00", "6.25", "no"}, cells(t, b.String(), "fc1.weight"))
	s := r.Stages[2]
	assert.Equal(t, "admm", keys(t, s)[len(keys(t, s))-1])
	assert.Equal(t, []string{"updates", "rho", "layers", "hard_prune_clean_accuracy", "hard_prune_robust_accuracy"}, keys(t, s.ADMM))
	assert.Equal(t, []string{"name", "primal", "dual", "energy", "converged", "advice"}, keys(t, s.ADMM.Layers[0]))
}
