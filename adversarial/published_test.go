package adversarial_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"rapt/adversarial"
	torch "rapt/cgo"
)

// published is what the published AutoAttack code (github.com/fra31/auto-attack at a392200) gave; scripts/autoattack_vectors.py wrote it.
type published struct {
	N, Side, Hidden, Classes int64
	A, B, X, Move            []float32
	Y                        []int64
	APGD                     []struct {
		Norm     string
		Eps      float64
		Steps    int
		Loss     string
		BestLoss []float32 `json:"best_loss"`
		Stands   []bool
		Best     []float32
	}
	FAB []struct {
		Norm          string
		Steps, Target int
		Distance      []float64
	}
	Square []struct {
		Norm    string
		Eps     float64
		Queries int
		Fooled  []int // of 100 images, by seed
	}
}

func readPublished(t *testing.T) (p published) {
	t.Helper()
	data, err := os.ReadFile("testdata/published.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &p))
	require.Len(t, p.X, int(p.N*p.Side*p.Side))
	return p
}

func (p published) network(s *torch.Session) (adversarial.Logits, adversarial.Batch) {
	a := s.FromFloat32(p.A, p.Side*p.Side, p.Hidden)
	b := s.FromFloat32(p.B, p.Hidden, p.Classes)
	f := func(x torch.Tensor) torch.Tensor { return x.Flatten().MatMul(a).Tanh().MatMul(b) }
	return f, adversarial.Batch{X: s.FromFloat32(p.X, p.N, 1, p.Side, p.Side), Y: s.FromInt64(p.Y, p.N), IDs: upTo(int(p.N))}
}

// APGD goes the published code's way, step by step: from the same start to the same best points, checkpoints and their oddities included.
func TestAPGDGoesThePublishedWay(t *testing.T) {
	p := readPublished(t)
	keys := map[string]string{"ce": "apgd-ce", "dlr": "apgd-dlr", "dlr-targeted": "apgd-t"}
	run(t, func(s *torch.Session) {
		f, b := p.network(s)
		require.Len(t, p.APGD, 12)
		for _, c := range p.APGD {
			norm, err := adversarial.ParseNorm(c.Norm)
			require.NoError(t, err)
			move := s.FromFloat32(p.Move, b.X.Shape()...)
			size := move.Flatten().Abs().Max(1)
			if norm == adversarial.L2 {
				size = move.Flatten().Norm(1)
			}
			start := b.X.Add(move.Div(size.Reshape(-1, 1, 1, 1)).MulScalar(c.Eps)).Clamp(0, 1)
			best, most, fooled, err := adversarial.Climb(f, b, start, norm, c.Eps, c.Steps, keys[c.Loss])
			require.NoError(t, err)
			d, k := int(p.Side*p.Side), 0
			for i, stands := range c.Stands {
				require.Equal(t, stands, !fooled[i], "%s %s, %d steps, image %d", c.Norm, c.Loss, c.Steps, i)
				if !stands {
					continue
				}
				require.InDelta(t, c.BestLoss[i], most[k], 1e-4, "%s %s, %d steps, image %d", c.Norm, c.Loss, c.Steps, i)
				require.InDeltaSlice(t, c.Best[i*d:(i+1)*d], best[k*d:(k+1)*d], 5e-4, "%s %s, %d steps, image %d", c.Norm, c.Loss, c.Steps, i)
				k++
			}
			require.Greater(t, k, 3)
		}
	})
}

// FAB-T finds wrong images exactly where the published code does: just inside a ball of its distance, and not in a smaller one.
func TestFABFindsThePublishedDistances(t *testing.T) {
	p := readPublished(t)
	run(t, func(s *torch.Session) {
		f, b := p.network(s)
		least := map[string][]float64{}
		for _, c := range p.FAB {
			for i, d := range c.Distance {
				if len(least[c.Norm]) <= i {
					least[c.Norm] = append(least[c.Norm], d)
				}
				least[c.Norm][i] = min(least[c.Norm][i], d)
			}
		}
		for name, distances := range least {
			norm, err := adversarial.ParseNorm(name)
			require.NoError(t, err)
			for i, d := range distances {
				one := part(s, b, int64(i))
				inside := attack(t, s, parse(t, "fab-t-20", adversarial.Settings{Norm: norm, Epsilon: d * 1.001}), f, one)
				require.True(t, inside.Fooled[0], "%s, image %d at %g", name, i, d)
				outside := attack(t, s, parse(t, "fab-t-20", adversarial.Settings{Norm: norm, Epsilon: d * 0.999}), f, one)
				require.False(t, outside.Fooled[0], "%s, image %d at %g", name, i, d)
			}
		}
	})
}

// sequence is that of scripts/autoattack_vectors.py.
func sequence(s *torch.Session, seed uint64, shape ...int64) torch.Tensor {
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
	v := make([]float32, n)
	for i := range v {
		seed = seed*6364136223846793005 + 1442695040888963407
		v[i] = float32(seed>>40) / (1 << 24)
	}
	return s.FromFloat32(v, shape...)
}

// Square draws other numbers than the published code, so what can be compared is how many of 100 colour images it fools on average.
func TestSquareFoolsAsManyAsThePublishedCode(t *testing.T) {
	p := readPublished(t)
	run(t, func(s *torch.Session) {
		a := sequence(s, 1, 300, 16).SubScalar(0.5).MulScalar(0.6)
		w := sequence(s, 2, 16, 5).SubScalar(0.5).MulScalar(2)
		f := func(x torch.Tensor) torch.Tensor { return x.Flatten().MatMul(a).Tanh().MatMul(w) }
		b := adversarial.Batch{X: sequence(s, 3, 100, 3, 10, 10), IDs: upTo(100)}
		s.NoGrad(func() { b.Y = f(b.X).Argmax(1) })
		require.Len(t, p.Square, 4)
		for _, c := range p.Square {
			norm, err := adversarial.ParseNorm(c.Norm)
			require.NoError(t, err)
			attack := parse(t, fmt.Sprintf("square-%d", c.Queries), adversarial.Settings{Norm: norm, Epsilon: c.Eps})
			var ours, theirs float64
			for seed, n := range c.Fooled {
				theirs += float64(n) / float64(len(c.Fooled))
				r, err := attack.Run(context.Background(), f, b, uint64(seed), nil)
				require.NoError(t, err)
				for _, yes := range r.Fooled {
					if yes {
						ours += 1 / float64(len(c.Fooled))
					}
				}
			}
			require.InDelta(t, theirs, ours, 3, "%s, %d queries", c.Norm, c.Queries)
			t.Logf("%s, %d queries: published %.1f, here %.1f of 100", c.Norm, c.Queries, theirs, ours)
		}
	})
}
