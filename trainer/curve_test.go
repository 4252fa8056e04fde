package trainer

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"

	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// curve is the loss of each of 50 training steps on drawn images.
func curve(t *testing.T, sets ...string) []float64 {
	t.Helper()
	var out []float64
	probe(t, ProbeOptions{}, func(b *Probe) {
		for range 50 {
			require.NoError(t, b.Step())
			sum, _, err := b.p.team.totals()
			require.NoError(t, err)
			out = append(out, sum/float64(b.p.cfg.Data.BatchSize))
		}
	}, sets...)
	require.Less(t, out[49], 0.8*out[0], "it learns")
	return out
}

// requireSameCurve compares loss by loss. An attack's sign steps turn a gradient's rounding into whole steps of single pixels,
// so that two attacked trainings part sooner than two natural ones.
func requireSameCurve(t *testing.T, want, got []float64, tolerance float64, what string) {
	t.Helper()
	worst := 0.0
	for i := range want {
		worst = max(worst, math.Abs(got[i]-want[i])/max(want[i], 0.1))
	}
	assert.LessOrEqual(t, worst, tolerance, what)
	t.Logf("%s: losses differ by %.2g at most", what, worst)
}

var lenetCurve = []string{"model.width=2", "run.workers=1", "model.init=kaiming_uniform", "pretrain.lr=0.03", "adversary.epsilon=0.02", "adversary.step_size=0.008",
	"adversary.steps=4", "adversary.random_start=false"}

// resnetCurve takes few images: what it has to show is 20 layers with batch norm. The attack takes the batch's own statistics, as
// the running ones say nothing yet, and a training against those would be chaotic.
var resnetCurve = append([]string{"data.dataset=cifar10", "model.arch=resnet18_adv", "data.batch_size=32", "pretrain.momentum=0",
	"pretrain.nesterov=false", "adversary.batch_norm=train"}, append(slices.Clone(lenetCurve[1:]), "pretrain.lr=0.01")...)

// Our own kernels do not change a training: the same losses, to rounding, over 50 steps with and without.
func TestCurvesDoNotDependOnKernels(t *testing.T) {
	Compares(t)
	t.Cleanup(func() { require.NoError(t, torch.SetKernels("best")) })
	natural := "training.method=natural"
	for _, c := range []struct {
		what      string
		sets      []string
		tolerance float64
	}{
		{"natural lenet_adv", append([]string{natural}, lenetCurve...), 1e-5},
		{"lenet_adv", lenetCurve, 1e-3},
		{"natural resnet18_adv", append([]string{natural}, resnetCurve...), 1e-2},
	} {
		require.NoError(t, torch.SetKernels("off"))
		want := curve(t, c.sets...)
		require.NoError(t, torch.SetKernels("best"))
		requireSameCurve(t, want, curve(t, c.sets...), c.tolerance, c.what)
	}
}

// An attacked training of 20 layers parts by per cents within 50 steps, whatever rounds differently: so here both take each step from
// the same weights, and their gradients are compared.
func TestGradientsDoNotDependOnKernels(t *testing.T) {
	Compares(t)
	t.Cleanup(func() { require.NoError(t, torch.SetKernels("best")) })
	probe(t, ProbeOptions{}, func(b *Probe) {
		m := b.p.lead()
		gradient := func() []float64 {
			var out []float64
			m.s.Do(func() {
				x, y := m.batch(b.p.train, first(32))
				x.RequiresGrad_(true)
				loss := m.model.Forward(x, nn.Eval).CrossEntropy(y, torch.ReduceMean, 0)
				out = values(t, m.s.Grad(loss, append(slices.Clone(m.params), x)...)...)
			})
			return out
		}
		var apart []float64
		for range 50 {
			require.NoError(t, b.Step())
			require.NoError(t, torch.SetKernels("off"))
			want := gradient()
			require.NoError(t, torch.SetKernels("best"))
			got := gradient()
			floats.Sub(got, want)
			apart = append(apart, floats.Norm(got, 2)/floats.Norm(want, 2))
		}
		slices.Sort(apart)
		assert.LessOrEqual(t, apart[25], 1e-5, "the median")
		assert.LessOrEqual(t, apart[49], 0.05, "the worst: where a ReLU's input is zero but for rounding, it is open or closed by chance")
		t.Logf("gradients differ by %.2g of their length, %.2g at most", apart[25], apart[49])
	}, resnetCurve...)
}

func TestCurveDoesNotDependOnWorkers(t *testing.T) {
	want := curve(t, lenetCurve...)
	for _, workers := range []int{2, 3} {
		got := curve(t, append(slices.Clone(lenetCurve), fmt.Sprintf("run.workers=%d", workers))...)
		requireSameCurve(t, want, got, 1e-3, fmt.Sprintf("%d workers", workers))
	}
}

// Attacks on the folded network and on the network itself do the same, at each of 50 steps of a training.
func TestFoldedAttacksAgree(t *testing.T) {
	Compares(t)
	probe(t, ProbeOptions{}, func(b *Probe) {
		m := b.p.lead()
		attacked := func(mode nn.Mode) float64 {
			var loss float64
			m.s.Do(func() {
				x, y := m.batch(b.p.train, first(32))
				forward := func(x torch.Tensor) torch.Tensor { return m.model.Forward(x, mode) }
				adv := b.p.attack.Perturb(forward, x, y, m.gen)
				v, err := m.model.Forward(adv, nn.Eval).CrossEntropy(y, torch.ReduceMean, 0).Item()
				require.NoError(t, err)
				loss = v
			})
			return loss
		}
		worst := 0.0
		for range 50 {
			require.NoError(t, b.Step())
			want := attacked(nn.Eval)
			var got float64
			m.s.Do(func() { got = attacked(nn.Mode{Folded: nn.Fold(m.model.Module)}) })
			worst = max(worst, math.Abs(got-want)/max(want, 0.1))
		}
		assert.LessOrEqual(t, worst, 1e-2)
		t.Logf("losses under attack differ by %.2g at most", worst)
	}, append([]string{"training.method=natural"}, resnetCurve...)...)
}
