package trainer

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
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
		staysFlat(t, sets...)
	}
	Apart(t, func() {
		staysFlat(t, "training.method=free", "training.replays=2", "model.arch=lenet_bn", "prune.sparsity_type=bn_filter", "training.ema_decay=0.9")
		staysFlat(t, "training.awp_gamma=0.01", "data.augment.crop=2")
	}, torch.CPU, torch.CPU)
}

func staysFlat(t *testing.T, sets ...string) {
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
		held := func() (n int) {
			for _, m := range p.team.members {
				n += m.s.Live()
			}
			return n
		}
		for _, st := range stages {
			lead := p.lead()
			before := held()
			if sets[0] == "training.method=free" && !lead.noise.Defined() {
				before++ // its noise is the run's
				if p.team.apart {
					before += 2 // another's, and member 0's handle of it
				}
			}
			lead.s.Do(func() {
				require.NoError(t, p.begin(st), st.name)
				live := make([]int, 4)
				for e := range live {
					require.NoError(t, p.epoch(context.Background(), st), st.name)
					require.NoError(t, p.save(st, "last"))
					live[e] = held()
				}
				st.saved.Done = true // the next one asks for it
				assert.Equal(t, live[1], live[3], "%s of %v: %v", st.name, sets, live)
			})
			assert.LessOrEqual(t, held(), before, "%s of %v leaves tensors behind", st.name, sets)
		}
	}, sets...)
}
