package trainer

import (
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/trainer/config"
)

func probe(t *testing.T, o ProbeOptions, f func(b *Probe), sets ...string) {
	t.Helper()
	out := t.TempDir()
	before := torch.LiveTensors()
	require.NoError(t, WithProbe(Settings(t, out, sets...), o, func(b *Probe) error {
		f(b)
		return nil
	}))
	assert.Equal(t, before, torch.LiveTensors(), "tensors left behind")
	files, err := os.ReadDir(out)
	require.NoError(t, err)
	assert.Empty(t, files, "a probe writes nothing")
}

// adam learns the drawn classes within some steps.
var adam = []string{"pretrain.optimizer=adam", "pretrain.lr=5e-3", "pretrain.momentum=0", "pretrain.nesterov=false", "model.width=2"}

func TestProbeTrains(t *testing.T) {
	for _, sets := range [][]string{
		{"training.method=natural"},
		{"training.method=pgd", "adversary.epsilon=0.01"},
		{"training.method=pgd", "adversary.epsilon=0.01", "run.workers=2", "data.dataset=mnist", "data.dir=/nowhere"},
	} {
		probe(t, ProbeOptions{}, func(b *Probe) {
			assert.Equal(t, "pretrain", b.st.name)
			assert.Equal(t, 2, b.StepsPerEpoch(), "two batches of images")
			loss := func(steps int) float64 {
				for range steps {
					require.NoError(t, b.Step())
				}
				sum, _, err := b.p.team.totals()
				require.NoError(t, err)
				return sum / float64(24*steps)
			}
			before := values(t, b.p.lead().params...)
			early := loss(2)
			assert.NotEqual(t, before, values(t, b.p.lead().params...))
			loss(60)
			assert.Less(t, loss(2), 0.7*early, "%v", sets)
			require.NoError(t, b.Evaluate(30))
			require.NoError(t, b.Evaluate(30))
			peak, err := b.Memory()
			require.NoError(t, err)
			assert.Greater(t, peak, int64(1<<20))
		}, append(sets, adam...)...)
	}
}

// A probe's steps are a run's: from the same images, the same weights.
func TestProbeStepsAsARunDoes(t *testing.T) {
	var want, got []float64
	probe(t, ProbeOptions{}, func(b *Probe) {
		require.NoError(t, b.Step())
		require.NoError(t, b.p.initial())
		st := &stage{name: "pretrain", conf: b.p.cfg.Pretrain, plan: b.p.plan}
		require.NoError(t, b.p.begin(st))
		require.NoError(t, b.p.step(st, b.order[:24], 0, 0))
		want = values(t, b.p.lead().params...)
	})
	probe(t, ProbeOptions{}, func(b *Probe) {
		require.NoError(t, b.Step())
		got = values(t, b.p.lead().params...)
	})
	assert.Equal(t, want, got)
}

func TestProbeOfTheOtherStages(t *testing.T) {
	probe(t, ProbeOptions{Stage: "admm"}, func(b *Probe) {
		require.NotNil(t, b.st.split)
		require.NoError(t, b.Step())
	})
	probe(t, ProbeOptions{Stage: "retrain", Images: 50}, func(b *Probe) {
		require.NotNil(t, b.st.masks)
		assert.Equal(t, 3, b.StepsPerEpoch())
		for range 4 {
			require.NoError(t, b.Step())
		}
		n, err := b.st.masks.revived(b.p.lead().s)
		require.NoError(t, err)
		assert.Zero(t, n)
	}, "run.workers=1")
	probe(t, ProbeOptions{}, func(b *Probe) { assert.Equal(t, "retrain", b.st.name) }, "pretrain.epochs=0", "admm.epochs=0")
}

func TestProbeRefusals(t *testing.T) {
	never := func(*Probe) error { panic("not reached") }
	var wrong *config.Error
	err := WithProbe(Settings(t, t.TempDir(), "model.arch=lenet_avd"), ProbeOptions{}, never)
	require.ErrorAs(t, err, &wrong)
	assert.ErrorContains(t, err, `did you mean "lenet_adv"`)
	assert.ErrorAs(t, WithProbe(Settings(t, t.TempDir(), "prune.ratios={conv9: 0.5}"), ProbeOptions{}, never), &wrong)

	var input *InputError
	assert.ErrorAs(t, WithProbe(Settings(t, t.TempDir(), "admm.epochs=0"), ProbeOptions{Stage: "admm"}, never), &input)
	assert.ErrorAs(t, WithProbe(Settings(t, t.TempDir()), ProbeOptions{Stage: "prune"}, never), &input)

	mine := errors.New("mine")
	assert.ErrorIs(t, WithProbe(Settings(t, t.TempDir()), ProbeOptions{}, func(*Probe) error { return mine }), mine)
	err = WithProbe(Settings(t, t.TempDir(), "training.method=natural", "pretrain.lr=1e30", "pretrain.nesterov=false"), ProbeOptions{}, func(b *Probe) error {
		for range 5 {
			if err := b.Step(); err != nil {
				return err
			}
		}
		return nil
	})
	assert.ErrorContains(t, err, "not a finite number")
}
