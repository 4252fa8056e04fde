package trainer

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/trainer/metrics"
)

// A stage holds as many tensors after its fourth epoch as after its second: a night's run does not fill the memory.
func TestNoTensorIsLeftBehindByAnEpoch(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and counts what races do not change; runs without -short")
	}
	for _, sets := range [][]string{
		{"training.method=pgd"},
		{"training.method=trades", "training.ema_decay=0.9", "prune.sparsity_type=filter"},
		{"training.method=mart", "training.awp_gamma=0.01"},
		{"training.method=free", "training.replays=2"},
		{"training.method=fgsm_rs", "admm.rho_mode=balance"},
		{"prune.sparsity_type=column", "data.augment.crop=2"},
		{"prune.sparsity_type=bn_filter", "model.arch=lenet_bn", "run.workers=2"},
		{"prune.sparsity_type=coupled_filter", "model.arch=resnet18_adv", "prune.ratio=0.5", "prune.hold_zeros=true", "training.method=natural"},
	} {
		sets = append(sets, "run.save_every=1", "run.log_every=1", "evaluate.baselines=[gradual]", "pretrain.epochs=4", "admm.epochs=4", "retrain.epochs=4")
		inside(t, func(p *pipeline) {
			withRun(t, p)
			p.periodic = newPeriodic(p.cfg.Run.SaveEvery)
			var err error
			p.metrics, err = metrics.Open(t.TempDir(), 0, false)
			require.NoError(t, err)
			defer p.metrics.Close()
			stages, err := p.stages()
			require.NoError(t, err)
			for _, st := range stages {
				lead := p.lead()
				before := lead.s.Live()
				if sets[0] == "training.method=free" && !lead.noise.Defined() {
					before++ // its noise is the run's
				}
				lead.s.Do(func() {
					require.NoError(t, p.begin(st), st.name)
					live := make([]int, 4)
					for e := range live {
						require.NoError(t, p.epoch(context.Background(), st), st.name)
						require.NoError(t, p.save(st, "last"))
						live[e] = lead.s.Live()
					}
					st.saved.Done = true // the next one asks for it
					assert.Equal(t, live[1], live[3], "%s of %v: %v", st.name, sets, live)
				})
				assert.LessOrEqual(t, lead.s.Live(), before, "%s of %v leaves tensors behind", st.name, sets)
			}
		}, sets...)
	}
}
