package metrics

import (
	"crypto/sha256"
	"fmt"
)

// Report is report.json, and what `rapt eval --json` prints. Accuracies and
// sparsities are fractions in [0, 1]. A run's report has Stages; its accuracies
// at the top are those of the last stage. An evaluation has none.
type Report struct {
	Schema     int    `json:"schema"` // 1
	Name       string `json:"name"`
	Dataset    string `json:"dataset"`
	Arch       string `json:"arch"`
	Width      int    `json:"width"`
	Method     string `json:"method"`
	Parameters int64  `json:"parameters"`
	// Channels that each layer has left, where rapt compact took some out; empty of a whole network.
	Channels map[string]int64 `json:"channels,omitempty"`

	// Of one model that is judged: its file, the stage and epoch that it comes from, and whether its run had not ended.
	Checkpoint string `json:"checkpoint,omitempty"`
	Stage      string `json:"stage,omitempty"`
	Epoch      int    `json:"epoch,omitempty"`
	Unfinished bool   `json:"unfinished,omitempty"`
	// CompactedFrom is the SHA-256 of the checkpoint that rapt compact made this one of.
	CompactedFrom string `json:"compacted_from,omitempty"`

	CleanAccuracy  *float64           `json:"clean_accuracy,omitempty"`
	RobustAccuracy map[string]float64 `json:"robust_accuracy,omitempty"` // by attack, such as "pgd-40"
	// WorstCaseAccuracy counts a sample only if it is right under every attack.
	WorstCaseAccuracy *float64 `json:"worst_case_accuracy,omitempty"`

	// Evaluation is what `rapt eval` adds: intervals, classes and more.
	Evaluation *Evaluation `json:"evaluation,omitempty"`

	// Attacks are the settings behind the robust accuracies.
	Attacks []Attack `json:"attacks,omitempty"`

	Stages []StageResult `json:"stages,omitempty"`
	// Baselines are models trained or pruned otherwise, for comparison.
	Baselines []StageResult `json:"baselines,omitempty"`
	Sparsity  Sparsity      `json:"sparsity"`
	// Quantization is there where weights are quantised.
	Quantization *Quantization `json:"quantization,omitempty"`
	Seed         uint64        `json:"seed"`
	DataNote     string        `json:"data_note,omitempty"` // what is to be known of the images, such as that some were left out
	Version      string        `json:"version"`
}

// Attack is an evaluation attack with all its settings. Epsilon and StepSize
// are in pixels' units, which run from 0 to 1. StepSize and Steps are 0 where the attack's name
// says all there is, as apgd-ce's does.
type Attack struct {
	Name        string  `json:"name"`
	Norm        string  `json:"norm"` // Linf or L2
	Epsilon     float64 `json:"epsilon"`
	StepSize    float64 `json:"step_size"`
	Steps       int     `json:"steps"`
	RandomStart bool    `json:"random_start"`
	// Restarts is 0 where there is one. Parts are the attacks of a set such as autoattack, in order.
	Restarts int      `json:"restarts,omitempty"`
	Parts    []string `json:"parts,omitempty"`
}

// StageResult is one stage's outcome, or a baseline's. ImagesPerSecond is
// training throughput, validation and start-up left out.
type StageResult struct {
	Stage           string             `json:"stage"`
	Epochs          int                `json:"epochs"`               // trained: fewer than the config's where the stage ended early
	BestEpoch       int                `json:"best_epoch,omitempty"` // of the model that is reported, from 1
	Seconds         float64            `json:"seconds"`
	ImagesPerSecond float64            `json:"images_per_second"`
	CleanAccuracy   float64            `json:"clean_accuracy"`
	RobustAccuracy  map[string]float64 `json:"robust_accuracy"`
	Loss            float64            `json:"loss"`
	Sparsity        float64            `json:"sparsity"`    // of a smaller network against the weights of the whole one
	Compression     float64            `json:"compression"` // likewise
	WorstCase       *float64           `json:"worst_case_accuracy,omitempty"`
	ADMM            *ADMM              `json:"admm,omitempty"`      // of ADMM stages
	Last            *Accuracies        `json:"last,omitempty"`      // of the last epoch's model, beside the best one's above
	Collapses       int                `json:"collapses,omitempty"` // of robust accuracy, that the guard of fgsm_rs went back from

	// Of stages after channels were taken out: the smaller network's size, and of the first what that made of the whole one.
	Parameters int64      `json:"parameters,omitempty"`
	Reduction  *Reduction `json:"reduction,omitempty"`

	Suspicion []Check `json:"suspicion,omitempty"` // of the run's last model, where one was looked for
}

// Accuracies of a model on the test set.
type Accuracies struct {
	CleanAccuracy  float64            `json:"clean_accuracy"`
	RobustAccuracy map[string]float64 `json:"robust_accuracy"` // by attack
}

// Sparsity sums up the pruned layers of a model.
type Sparsity struct {
	Type        string          `json:"type"`
	Weights     int64           `json:"weights"` // elements of the listed layers
	Zeros       int64           `json:"zeros"`
	Sparsity    float64         `json:"sparsity"`    // zeros / weights
	Compression float64         `json:"compression"` // weights / (weights - zeros); 0 where nothing is left
	Layers      []LayerSparsity `json:"layers"`
}

// LayerSparsity counts the zeros of one tensor, viewed as the matrix
// [out, everything else]: a filter is a row, a column a column.
type LayerSparsity struct {
	Name        string  `json:"name"`
	Shape       []int64 `json:"shape"`
	Numel       int64   `json:"numel"`
	Zeros       int64   `json:"zeros"`
	Sparsity    float64 `json:"sparsity"`
	Filters     int64   `json:"filters"`
	ZeroFilters int64   `json:"zero_filters"` // rows that are zero throughout
	Columns     int64   `json:"columns"`
	ZeroColumns int64   `json:"zero_columns"`
	// MaskSHA256 tells masks apart: the SHA-256 of one byte a weight, row-major, 1 where it is kept and 0 where it is zero.
	MaskSHA256 string `json:"mask_sha256"`
}

// LayerOf counts a tensor's zeros. data is row-major and has product(shape)
// elements. A vector, such as a batch norm's scale, is [n, 1]: each element is a
// filter, as bn_filter pruning sees it. A scalar is [1, 1].
func LayerOf(name string, shape []int64, data []float32) LayerSparsity {
	l := LayerSparsity{Name: name, Shape: append([]int64{}, shape...), Numel: int64(len(data))}
	if len(data) == 0 {
		return l
	}
	rows := 1
	if len(shape) > 0 {
		rows = int(shape[0])
	}
	cols := len(data) / rows
	l.Filters, l.Columns = int64(rows), int64(cols)
	alive := make([]bool, cols)
	mask := make([]byte, len(data))
	for i := range rows {
		kept := false
		for j, v := range data[i*cols : (i+1)*cols] {
			if v == 0 {
				l.Zeros++
			} else {
				kept, alive[j], mask[i*cols+j] = true, true, 1
			}
		}
		if !kept {
			l.ZeroFilters++
		}
	}
	for _, a := range alive {
		if !a {
			l.ZeroColumns++
		}
	}
	l.Sparsity = float64(l.Zeros) / float64(l.Numel)
	l.MaskSHA256 = fmt.Sprintf("%x", sha256.Sum256(mask))
	return l
}

// Summarise adds up layers; sparsityType is the way they were pruned.
func Summarise(sparsityType string, layers []LayerSparsity) Sparsity {
	s := Sparsity{Type: sparsityType, Layers: append([]LayerSparsity{}, layers...), Compression: 1}
	for _, l := range layers {
		s.Weights += l.Numel
		s.Zeros += l.Zeros
	}
	if s.Weights > 0 {
		s.Sparsity = float64(s.Zeros) / float64(s.Weights)
		s.Compression = rate(s.Weights, s.Zeros)
	}
	return s
}

// Of is the sparsity and the compression of what is left of so many weights.
func (s Sparsity) Of(weights int64) (sparsity, compression float64) {
	left := s.Weights - s.Zeros
	return 1 - float64(left)/float64(weights), rate(weights, weights-left)
}

// rate is the factor by which pruning shrinks n weights; 0 where none is left,
// since JSON knows no infinity.
func rate(n, zeros int64) float64 {
	if n == zeros {
		return 0
	}
	return float64(n) / float64(n-zeros)
}
