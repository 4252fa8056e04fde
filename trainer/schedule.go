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
	case "admm":
		cycle := max(st.UpdateEvery, 1)
		thirds := 3 * (epoch % cycle) / cycle
		lr *= math.Pow(0.1, float64(thirds))
	}
	return lr
}
