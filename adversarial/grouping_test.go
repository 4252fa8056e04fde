package adversarial_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"rapt/adversarial"
	torch "rapt/cgo"
)

// few makes the attacks short enough for tests on a network of one convolution.
func few(t *testing.T, norm adversarial.Norm) []adversarial.Attack {
	t.Helper()
	eps := map[adversarial.Norm]float64{adversarial.Linf: 0.03, adversarial.L2: 0.15, adversarial.L1: 0.4}[norm]
	s := adversarial.Settings{Norm: norm, Epsilon: eps, RandomStart: true, Restarts: 2, Classes: 10}
	names := []string{"fgsm", "pgd-10", "pgd-10-margin", "pgd-10-dlr", "pgd-4-t", "pgd-4-margin-t", "pgd-4-dlr-t"}
	if norm != adversarial.L1 {
		names = append(names, "mim-10", "apgd-ce-12", "apgd-dlr-12", "apgd-t-8", "fab-6", "fab-t-5", "square-60")
	}
	if norm == adversarial.L2 {
		names = append(names, "cw-40")
	}
	var out []adversarial.Attack
	for _, name := range names {
		out = append(out, parse(t, name, s))
	}
	return out
}

// batch is images that the network mostly gets right.
func batch(s *torch.Session, f adversarial.Logits, n int) adversarial.Batch {
	x := s.Rand(s.NewGenerator(21), int64(n), 2, 6, 6).MulScalar(1.4).SubScalar(0.2).Clamp_(0, 1)
	var y torch.Tensor
	s.NoGrad(func() { y = f(x).Argmax(1) })
	classes, _ := y.Int64s()
	classes[0] = (classes[0] + 1) % 10 // but for this one
	return adversarial.Batch{X: x, Y: s.FromInt64(classes, int64(n)), IDs: upTo(n)}
}

// part picks images of a batch.
func part(s *torch.Session, b adversarial.Batch, rows ...int64) adversarial.Batch {
	idx := s.FromInt64(rows, int64(len(rows)))
	var ids []int64
	for _, r := range rows {
		ids = append(ids, b.IDs[r])
	}
	return adversarial.Batch{X: b.X.IndexSelect(0, idx), Y: b.Y.IndexSelect(0, idx), IDs: ids}
}

// What becomes of an image depends on nothing but the image, its ID and the seed: not on the others, their number and order, nor on
// which of them leave the batch when.
func TestAttacksDoNotDependOnGrouping(t *testing.T) {
	run(t, func(s *torch.Session) {
		f := network(s, s.NewGenerator(4))
		const n = 12
		b := batch(s, f, n)
		for _, norm := range []adversarial.Norm{adversarial.Linf, adversarial.L2, adversarial.L1} {
			var some, all int
			for _, a := range few(t, norm) {
				whole := attack(t, s, a, f, b)
				require.True(t, whole.Fooled[0])
				require.Zero(t, whole.Steps[0], "wrong from the start")
				requireClose(t, b.X.Narrow(0, 0, 1), whole.Images.Narrow(0, 0, 1), 0)
				again := attack(t, s, a, f, b)
				require.Equal(t, whole.Steps, again.Steps)
				requireClose(t, whole.Images, again.Images, 0)
				order := []int64{7, 2, 11, 0, 5, 1, 10, 9, 3, 8, 4, 6}
				for _, rows := range [][]int64{order[:1], order[1:2], order[2:7], order[7:]} {
					got := attack(t, s, a, f, part(s, b, rows...))
					for i, r := range rows {
						require.Equal(t, whole.Fooled[r], got.Fooled[i], "%s %v: image %d", a.Name(), norm, r)
						require.Equal(t, whole.Steps[r], got.Steps[i], "%s %v: image %d", a.Name(), norm, r)
						requireClose(t, whole.Images.Narrow(0, r, 1), got.Images.Narrow(0, int64(i), 1), 1e-4)
					}
				}
				for i := range whole.Fooled {
					if all++; whole.Fooled[i] {
						some++
					}
				}
			}
			require.Greater(t, some, all/5, "%v: an attack that fools nothing tells nothing", norm)
			require.Less(t, some, all*4/5, "%v: nor does one that fools all", norm)
		}
	})
}

// Another seed draws other numbers, and so does another restart: more restarts never fool fewer.
func TestRestartsAreMonotone(t *testing.T) {
	run(t, func(s *torch.Session) {
		f := network(s, s.NewGenerator(4))
		b := batch(s, f, 32)
		for _, name := range []string{"pgd-3", "apgd-ce-3", "fab-t-2", "square-15"} {
			settings := adversarial.Settings{Norm: adversarial.Linf, Epsilon: 0.02, RandomStart: true}
			count := func(restarts int) (n int, r adversarial.Result) {
				settings.Restarts = restarts
				r = attack(t, s, parse(t, name, settings), f, b)
				for _, yes := range r.Fooled {
					if yes {
						n++
					}
				}
				return n, r
			}
			one, r1 := count(1)
			six, r6 := count(6)
			for i, yes := range r1.Fooled {
				if yes {
					require.Equal(t, r1.Steps[i], r6.Steps[i], name)
				}
			}
			require.GreaterOrEqual(t, six, one, name)
		}
		a := parse(t, "square-15", adversarial.Settings{Norm: adversarial.Linf, Epsilon: 0.02})
		r1, err := a.Run(context.Background(), f, b, 1, nil)
		require.NoError(t, err)
		r2, err := a.Run(context.Background(), f, b, 2, nil)
		require.NoError(t, err)
		require.NotEqual(t, values(t, r1.Images), values(t, r2.Images))
	})
}

// Without a random start PGD visits the points that the training attack does.
func TestPGDIsTheTrainingAttack(t *testing.T) {
	run(t, func(s *torch.Session) {
		f := network(s, s.NewGenerator(4))
		b := batch(s, f, 12)
		for _, norm := range []adversarial.Norm{adversarial.Linf, adversarial.L2} {
			p := adversarial.PGD{Norm: norm, Epsilon: 0.01, StepSize: 0.002, Steps: 8}
			want := p.Perturb(f, b.X, b.Y, nil)
			got := attack(t, s, parse(t, "pgd-8", adversarial.Settings{Norm: norm, Epsilon: 0.01, StepSize: 0.002}), f, b)
			same := 0
			for i, yes := range got.Fooled {
				if !yes {
					same++
					requireClose(t, want.Narrow(0, int64(i), 1), got.Images.Narrow(0, int64(i), 1), 1e-6)
				}
			}
			require.Greater(t, same, 3)
		}
	})
}

func TestAttacksStopAndReport(t *testing.T) {
	run(t, func(s *torch.Session) {
		f := network(s, s.NewGenerator(4))
		b := batch(s, f, 12)
		for _, a := range few(t, adversarial.L2) {
			before := s.Live()
			ctx, cancel := context.WithCancel(context.Background())
			_, err := a.Run(ctx, f, b, 1, func(int, float64) { cancel() })
			require.ErrorIs(t, err, context.Canceled, a.Name())
			var last float64
			var stood, held int
			r, err := a.Run(context.Background(), f, b, 1, func(standing int, done float64) {
				require.LessOrEqual(t, last, done, a.Name())
				last, stood = done, standing
				if held == 0 {
					held = s.Live()
				}
				require.LessOrEqual(t, s.Live(), held+12, "%s: tensors grow with the steps", a.Name()) // a tensor of those taken out a step
			})
			require.NoError(t, err)
			require.LessOrEqual(t, last, 1+1e-9, a.Name())
			require.Less(t, stood, 12)
			s.Free(r.Images)
			require.Equal(t, before, s.Live(), "%s leaves tensors", a.Name())
		}
	})
}

func TestAttacksMistakes(t *testing.T) {
	for _, c := range []struct {
		name string
		s    adversarial.Settings
		want string
	}{
		{"pdg-20", adversarial.Settings{}, `unknown attack "pdg-20", did you mean pgd-20?`},
		{"autoatack", adversarial.Settings{}, `did you mean autoattack?`},
		{"pgd", adversarial.Settings{}, `attack "pgd" lacks its number of steps: want pgd-N`},
		{"fgsm-3", adversarial.Settings{}, `fgsm has no number of steps`},
		{"pgd-0", adversarial.Settings{}, `attack "pgd-0": its number of steps or queries is one from 1 to 1000000, not 0`},
		{"pgd-10-20", adversarial.Settings{}, `unknown attack "pgd-10-20"`},
		{"pgd-10", adversarial.Settings{Epsilon: -1}, `epsilon is -1, want more than 0`},
		{"pgd-10", adversarial.Settings{Epsilon: 8}, `did you mean 8/255?`},
		{"cw", adversarial.Settings{Epsilon: 0.1}, `cw measures L2, not Linf`},
		{"square", adversarial.Settings{Epsilon: 1, Norm: adversarial.L1}, `square measures Linf, L2, not L1`},
		{"apgd-t", adversarial.Settings{Epsilon: 0.1, Classes: 3}, `apgd-t needs 4 classes or more, the network has 3`},
		{"autoattack", adversarial.Settings{Epsilon: 0.1, Classes: 2}, `autoattack needs 4 classes or more`},
		{"autoattack", adversarial.Settings{Epsilon: 0.1, Queries: 100}, `autoattack is a fixed set`},
		{"autoattack", adversarial.Settings{Epsilon: 0.1, Restarts: 5}, `name its attacks (apgd-ce, apgd-t, fab-t, square)`},
	} {
		_, err := adversarial.Parse(c.name, c.s)
		require.ErrorContains(t, err, c.want)
	}
	var nan error
	_ = torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
		b := adversarial.Batch{X: s.Zeros(2, 1, 2, 2), Y: s.FromInt64([]int64{0, 1}, 2), IDs: upTo(2)}
		f := func(x torch.Tensor) torch.Tensor { return x.Flatten().Log().MulScalar(0).AddScalar(1).Div(x.Flatten()) }
		a, err := adversarial.Parse("pgd-3", adversarial.Settings{Epsilon: 0.1})
		require.NoError(t, err)
		_, nan = a[0].Run(context.Background(), f, b, 1, nil)
		return nil
	})
	require.ErrorContains(t, nan, "pgd-3: the network's logits are not finite")
	require.False(t, errors.Is(nan, context.Canceled))
}

func TestAutoAttackIsTheStandardVersion(t *testing.T) {
	names := func(set string) (out []string) {
		all, err := adversarial.Parse(set, adversarial.Settings{Norm: adversarial.L2, Epsilon: 0.5, Classes: 10})
		require.NoError(t, err)
		for _, a := range all {
			out = append(out, a.Name())
		}
		return out
	}
	require.Equal(t, []string{"apgd-ce", "apgd-t", "fab-t", "square"}, names("autoattack"))
	require.Equal(t, []string{"apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"}, names("autoattack-plus"))
	require.Equal(t, []string{"apgd-ce", "apgd-dlr"}, names("autoattack-rand"))
	require.Equal(t, []string{"apgd-ce-50"}, names("apgd-ce-50"))
}

// Rows that fill a batch up change neither logits nor gradients.
func TestPadded(t *testing.T) {
	run(t, func(s *torch.Session) {
		f := network(s, s.NewGenerator(4))
		x := s.Rand(s.NewGenerator(2), 5, 2, 6, 6).RequiresGrad_(true)
		sizes := []int64{}
		watched := func(x torch.Tensor) torch.Tensor {
			sizes = append(sizes, x.Size(0))
			return f(x)
		}
		for _, multiple := range []int64{1, 4, 5, 32} {
			z := adversarial.Padded(watched, x, multiple)
			requireClose(t, f(x), z, 1e-4)
			requireClose(t, s.Grad(f(x).Sum(), x)[0], s.Grad(z.Sum(), x)[0], 1e-4)
		}
		require.Equal(t, []int64{5, 8, 5, 32}, sizes)
	})
}
