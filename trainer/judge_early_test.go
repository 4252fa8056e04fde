package trainer

import (
	"cmp"
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/cgo/nn"
	"rapt/trainer/checkpoint"
)

// shifted adds v to all of a float32 tensor of a checkpoint.
func shifted(t *testing.T, f *checkpoint.File, name string, v float32) {
	t.Helper()
	for i, one := range f.Tensors {
		if one.Name == name {
			x, err := one.Float32s()
			require.NoError(t, err)
			for k := range x {
				x[k] += v
			}
			f.Tensors[i] = checkpoint.F32(name, one.Shape, x)
			return
		}
	}
	require.Fail(t, "there is no "+name)
}

// An attack goes by the network with its batch norms folded. Where the network as it is computes something else, since it loses digits, images that the
// attack thought it had broken are attacked again by the network as it is.
func TestImagesThatAreLeftTooEarly(t *testing.T) {
	cfg := Settings(t, t.TempDir(), "model.arch=lenet_bn", "data.test_limit=250", "data.train_limit=600", "data.validation=30", "pretrain.optimizer=adam", "pretrain.momentum=0",
		"pretrain.nesterov=false", "pretrain.lr=1e-3", "pretrain.epochs=2", "training.method=natural", "admm.epochs=0", "retrain.epochs=0", "evaluate.attacks=[]")
	_, err := Run(t.Context(), cfg, Quiet())
	require.NoError(t, err)
	f, err := checkpoint.Read(filepath.Join(cfg.Run.OutDir, cfg.Run.Name, "checkpoints", "pretrain", "best.safetensors"))
	require.NoError(t, err)
	shifted(t, f, "conv2.bias", 100000) // and back: of what conv2 makes the last digits are lost
	shifted(t, f, "conv2_bn.running_mean", 100000)
	o := EvalOptions{Path: filepath.Join(t.TempDir(), "m.safetensors"), Device: "cpu", Workers: 1, Attacks: []string{"pgd-20"}, Epsilon: 0.03, Console: Quiet().Console}
	require.NoError(t, checkpoint.Write(o.Path, f))
	tr := tried(t, o, 100)
	early, want := 0, 0
	require.NoError(t, tr.with(tr.devs, 1, func(tm *team, d *images) error {
		return tm.crewed(d, func(c *crew) error {
			return c.spread(t.Context(), chunked(first(d.n), 50), func(ctx context.Context, w *worker, ids []int64) (func() error, error) {
				_, left, err := tr.fire(ctx, w, tr.attacks[0].parts[0], nn.Mode{Folded: nn.Fold(w.model.Module)}, ids, nil)
				shots, _, err2 := tr.fire(ctx, w, tr.attacks[0].parts[0], nn.Eval, ids, nil)
				for _, s := range shots {
					if s.image == nil {
						want++
					}
				}
				early += len(left)
				return func() error { return nil }, cmp.Or(err, err2)
			})
		})
	}))
	t.Logf("%d left too early, %d stand of %d", early, want, tr.test.N)
	require.Positive(t, early, "or this tests nothing")
	assert.InDelta(t, want, len(tr.standing(0, 1)), 3, "as many as stand the attack by the network as it is")
}
