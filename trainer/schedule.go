package trainer

import (
	"math"

	"rapt/trainer/config"
)

// learningRate is the rate at a moment of a stage: epoch counts from 0, done in [0, 1) is the share of it that has passed.
// The ADMM stage's cycle starts anew at every update of Z and U, and falls to a tenth after each third of it
// (arXiv 1903.12561, released code).
func learningRate(st config.Stage, epoch int, done float64) float64 {
	lr := float64(st.LR)
	at := float64(epoch) + done
	if warm := float64(st.WarmupEpochs); at < warm {
		return lr * math.Max(at, 0.01) / warm
	}
	switch st.LRSchedule {
	case "multistep":
		for _, m := range st.Milestones {
			if epoch >= m {
				lr *= float64(st.Gamma)
			}
		}
	case "cosine":
		warm := float64(st.WarmupEpochs)
		lr *= 0.5 * (1 + math.Cos(math.Pi*(at-warm)/(float64(st.Epochs)-warm)))
	case "one_cycle":
		lr *= oneCycle(at / float64(st.Epochs))
	case "piecewise":
		lr *= piecewise(math.Max(at, 0.01) / float64(st.Epochs))
	case "admm":
		cycle := max(st.UpdateEvery, 1)
		thirds := 3 * (epoch % cycle) / cycle
		lr *= math.Pow(0.1, float64(thirds))
	}
	return lr
}

// oneCycle is the share of the rate at share x of a stage: up from 1/25 along half a cosine in three tenths of it, and down to 1/250,000
// along another (Smith and Topin, arXiv 1708.07120, with PyTorch's usual numbers).
func oneCycle(x float64) float64 {
	const rise, from, to = 0.3, 1.0 / 25, 1.0 / 25e4
	half := func(a, b, x float64) float64 { return b + (a-b)/2*(1+math.Cos(math.Pi*x)) }
	if x < rise {
		return half(from, 1, x/rise)
	}
	return half(1, to, (x-rise)/(1-rise))
}

// piecewise is the share of the rate at share x of a stage: from 0 in a line to the whole at two fifths of it, and back to 0 (Wong et al.,
// arXiv 2001.03994, released code).
func piecewise(x float64) float64 {
	const peak = 0.4
	return math.Min(x/peak, (1-x)/(1-peak))
}
