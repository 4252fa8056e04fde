package trainer_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/admm"
	"rapt/trainer"
)

// What a run keeps of each structure, counted in the model that retraining ends with.
func TestStructuresInARun(t *testing.T) {
	short := []string{"pretrain.epochs=0", "admm.epochs=1", "retrain.epochs=1", "training.method=natural", "model.width=2"}
	t.Run("2:4", func(t *testing.T) {
		cfg := trainer.Settings(t, t.TempDir(), append(short, "prune.sparsity_type=2:4", "prune.ratio=0.5", "prune.ratios={fc2: 0}")...)
		r := run(t, cfg)
		assert.Equal(t, "2:4", r.Sparsity.Type)
		pruned := map[string]float64{"conv1.weight": 0, "conv2.weight": 0.5, "fc1.weight": 0.5, "fc2.weight": 0} // conv1 has one input
		w := bestOf(t, cfg, "retrain")
		for _, l := range r.Sparsity.Layers {
			assert.Equal(t, pruned[l.Name], l.Sparsity, l.Name)
			if pruned[l.Name] == 0 {
				continue
			}
			inputs, place := int(l.Shape[1]), int(l.Numel/l.Shape[0]/l.Shape[1])
			for first := range len(w[l.Name]) / 4 { // of four inputs at one place, in the order of the outputs, groups and places
				start := first/(inputs/4*place)*inputs*place + first/place%(inputs/4)*4*place + first%place
				kept := 0
				for i := range 4 {
					if w[l.Name][start+i*place] != 0 {
						kept++
					}
				}
				require.Equal(t, 2, kept, "%s, group %d", l.Name, first)
			}
		}
		again, err := trainer.SparsityOf(filepath.Join(folder(cfg), "checkpoints", "retrain", "best.safetensors"))
		require.NoError(t, err)
		assert.Equal(t, r.Sparsity, again.Sparsity)
	})
	t.Run("block", func(t *testing.T) {
		cfg := trainer.Settings(t, t.TempDir(), append(short, "prune.sparsity_type=block", "prune.ratio=0.6")...)
		r := run(t, cfg)
		assert.Equal(t, "block4x4", r.Sparsity.Type)
		w := bestOf(t, cfg, "retrain")
		for _, l := range r.Sparsity.Layers {
			rows, columns := int(l.Filters), int(l.Columns)
			groups, zero := 0, 0
			for i := 0; i < rows; i += 4 {
				for j := 0; j < columns; j += 4 {
					all := true
					for y := i; y < min(i+4, rows); y++ {
						for x := j; x < min(j+4, columns); x++ {
							all = all && w[l.Name][y*columns+x] == 0
						}
					}
					if groups++; all {
						zero++
					}
				}
			}
			assert.EqualValues(t, groups, admm.Groups("block4x4", l.Shape))
			assert.EqualValues(t, admm.Pruned(int64(groups), 0.6), zero, l.Name)
		}
	})
}

func TestStructuresAreRefusedBeforeAnyWork(t *testing.T) {
	for want, sets := range map[string][]string{
		"conv1 has 1 inputs, of which 2:4 pruning needs a multiple of 4: want one of fc1, fc2":   {"prune.sparsity_type=2:4", "prune.ratio=0", "prune.ratios={conv1: 0.5}"},
		"the channels of pnasneta are shuffled, split or grouped":                                {"prune.sparsity_type=coupled_filter", "model.arch=pnasneta", "prune.ratio=0.5"},
		"the network has no layer that pattern pruning is for":                                   {"prune.sparsity_type=pattern", "prune.ratio=5/9"},
		"conv1 has kernels of 5x5, and pattern pruning is for 3x3; no layer of the network fits": {"prune.sparsity_type=pattern", "prune.ratio=0", "prune.ratios={conv1: 5/9}"},
	} {
		_, err := trainer.Run(t.Context(), trainer.Settings(t, t.TempDir(), sets...), trainer.Quiet())
		assert.ErrorContains(t, err, want)
		assert.True(t, isInput(err))
	}
}

func TestBalancedRun(t *testing.T) {
	sets := []string{"pretrain.epochs=1", "pretrain.lr_schedule=constant", "retrain.epochs=0", "admm.epochs=4", "admm.rho=2", "admm.lr=0.02", "admm.rho_mode=balance", "training.method=natural"}
	// Interrupted in the middle of each epoch or two.
	whole, _ := resumesAgainAndAgain(t, func(int) int { return 5 }, sets...)
	differ := false
	for _, row := range ofEpochs(t, folder(whole), "admm") {
		most := 0.0
		for _, l := range []string{"conv1.weight", "conv2.weight", "fc1.weight", "fc2.weight"} {
			rho := row["admm/rho/"+l].(float64)
			differ = differ || most != 0 && rho != most
			most = max(most, rho)
		}
		assert.Equal(t, most, row["admm/rho"], "the largest of the layers'")
	}
	assert.True(t, differ, "each layer has its own")
}

// The report says where each layer of an ADMM stage ended, also where the last epoch was no update's.
func TestVerdictsInTheReport(t *testing.T) {
	sets := []string{"pretrain.epochs=1", "pretrain.lr_schedule=constant", "retrain.epochs=0", "admm.update_every=2", "admm.rho_mode=fixed", "training.method=natural", "prune.ratios={conv1: 0}"}
	for epochs, c := range map[string]struct {
		updates int
		advice  string
	}{"1": {0, "Z and U were never updated"}, "2": {1, "one update does not show where it goes"}, "3": {1, ""}} {
		cfg := trainer.Settings(t, t.TempDir(), append(sets, "admm.epochs="+epochs)...)
		r := run(t, cfg)
		assert.Nil(t, r.Stages[0].ADMM, "pretrain has none")
		a := r.Stages[1].ADMM
		require.NotNil(t, a)
		assert.Equal(t, a, storedReport(t, folder(cfg)).Stages[1].ADMM)
		assert.Equal(t, c.updates, a.Updates)
		assert.Equal(t, 0.1, a.Rho)
		require.Len(t, a.Layers, 3, "conv1 is not pruned")
		log, err := os.ReadFile(filepath.Join(folder(cfg), "log.txt"))
		require.NoError(t, err)
		for _, l := range a.Layers {
			assert.False(t, l.Converged, "%s after %s epochs", l.Name, epochs)
			assert.NotEmpty(t, l.Advice)
			assert.Contains(t, l.Advice, c.advice)
			assert.Contains(t, string(log), l.Advice)
			assert.Greater(t, l.Primal, 0.1)
			assert.Greater(t, l.Energy, 0.01)
			assert.Less(t, l.Energy, 1.0)
		}
		assert.Contains(t, string(log), "0 of 3 layers")
		last := ofEpochs(t, folder(cfg), "admm")
		if row := last[len(last)-1]; epochs == "2" {
			for _, l := range a.Layers {
				assert.Equal(t, []any{l.Primal, l.Dual, l.Energy}, []any{row["admm/primal_rel/"+l.Name], row["admm/dual_rel/"+l.Name], row["admm/energy/"+l.Name]})
			}
			assert.Equal(t, []any{a.HardPruneCleanAccuracy, a.HardPruneRobustAccuracy}, []any{row["admm/hard_prune_clean_acc"], row["admm/hard_prune_pgd_acc"]})
			assert.NotContains(t, row, "admm/rho/fc1.weight", "one rho for all")
		}
	}
}
