package trainer

import (
	"rapt/adversarial"
	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// fgsmStep is the single step of fgsm_rs, in units of epsilon (Wong et al., arXiv 2001.03994, section 4.2).
const fgsmStep = 1.25

// objectiveOf is what a stage minimises, as the config says.
func (p *pipeline) objectiveOf(st *stage) *objective {
	t := p.cfg.Training
	o := &objective{method: t.Method, attack: p.attack, attackTrain: p.cfg.Adversary.BatchNorm == "train", beta: float64(t.Beta),
		labelSmoothing: float64(t.LabelSmoothing), mixupAlpha: float64(t.MixupAlpha), augment: newAugmentation(p.cfg.Data.Augment), short: p.cfg.Run.Precision == "bf16"}
	if st.natural {
		o.method = "natural"
	}
	switch o.method {
	case "free":
		o.replays = t.Replays
	case "fgsm_rs":
		o.attack.Steps, o.attack.RandomStart, o.attack.StepSize = 1, true, fgsmStep*o.attack.Epsilon
		if st.saved.AttackStep > 0 {
			o.attack.StepSize = st.saved.AttackStep
		}
	}
	return o
}

// begins is the point that the method's attack leaves from; absent where it has none, and for free, which goes on from its last noise.
func (o *objective) begins(x torch.Tensor, g *torch.Generator) (start torch.Tensor) {
	switch o.method {
	case "trades":
		return o.attack.StartNear(x, g)
	case "natural", "free":
		return start
	}
	return o.attack.Start(x, g)
}

// perturb moves in.start to the images to train on.
func (m *member) perturb(o *objective, in inputs) {
	if in.start == (torch.Tensor{}) {
		return
	}
	mode := nn.Mode{Train: true, Generator: m.gen}
	if !o.attackTrain {
		mode = nn.Mode{Folded: nn.Fold(m.model.Module)}
	}
	forward := func(x torch.Tensor) torch.Tensor { return m.model.Forward(x, mode) }
	if o.method == "trades" {
		o.attack.AscendKL(forward, in.start, in.x)
	} else {
		o.attack.Ascend(forward, in.start, in.x, in.target)
	}
}

// loss is the batch's sum, with the logits by which right answers are counted. noise is free's, which it is a function of.
func (m *member) loss(o *objective, in inputs, noise torch.Tensor) (loss, logits torch.Tensor) {
	forward := func(x torch.Tensor) torch.Tensor { return m.model.Forward(x, nn.Mode{Train: true, Generator: m.gen}) }
	switch o.method {
	case "trades":
		clean := forward(in.x)
		logits = forward(in.start)
		return tradesLoss(clean, logits, in.target, o.beta, o.labelSmoothing), logits
	case "mart":
		clean := forward(in.x)
		logits = forward(in.start)
		return martLoss(clean, logits, in.y, m.oneHot(in.y), o.beta), logits
	case "natural":
		logits = forward(in.x)
	case "free":
		logits = forward(in.x.Add(noise).Clamp(0, 1))
	default:
		logits = forward(in.start)
	}
	return logits.CrossEntropy(in.target, torch.ReduceSum, o.labelSmoothing), logits
}

// tradesLoss is the cross-entropy on the images as they are and beta times the divergence of the prediction on adversarial ones from
// that, summed over the batch (Zhang et al., arXiv 1901.08573, eq. 5). Logits are [N, classes], target as for CrossEntropy.
func tradesLoss(clean, adv, target torch.Tensor, beta, smoothing float64) torch.Tensor {
	p, q := adversarial.LogProbabilities(clean), adversarial.LogProbabilities(adv)
	return clean.CrossEntropy(target, torch.ReduceSum, smoothing).Add(adversarial.KL(p, q).Sum().MulScalar(beta))
}

// martLoss is, summed over the batch, the boosted cross-entropy on adversarial images, which also pushes the likeliest wrong class down,
// and beta times the divergence of TRADES, weighted by how unsure the network is of the image as it is (Wang et al., "Improving Adversarial
// Robustness Requires Revisiting Misclassified Examples", ICLR 2020, eq. 6 to 8). Logits are [N, classes], y is int64 [N], hot its one-hot form.
func martLoss(clean, adv, y, hot torch.Tensor, beta float64) torch.Tensor {
	p, q := adversarial.LogProbabilities(clean), adversarial.LogProbabilities(adv)
	next := q.Exp().Sub(hot.MulScalar(2)).Max(1)                               // the right class is below 0 there
	boosted := q.Mul(hot).Sum(1).Add(next.Neg().AddScalar(1.0001).Log()).Neg() // 1.0001: of 1 the logarithm's slope may be infinite
	unsure := p.Exp().Mul(hot).Sum(1).Neg().AddScalar(1)
	return boosted.Add(adversarial.KL(p, q).Mul(unsure).MulScalar(beta)).Sum()
}

// beginMethod sets up what the stage's training needs beside the model, the optimizer and what prunes.
func (p *pipeline) beginMethod(st *stage) error {
	lead, t := p.team.members[0], p.cfg.Training
	if t.EMADecay > 0 {
		st.average = newAverage(lead, float64(t.EMADecay))
	}
	if st.awp = nil; t.AWPGamma > 0 && !st.target.natural() {
		st.awp = newWeightPerturbation(lead, float64(t.AWPGamma))
		if st.masks != nil {
			st.awp.hold(st.masks)
		}
		p.useAWP(st, st.saved.Epoch)
	}
	if st.target.method == "free" {
		set := p.parts.Train
		err := p.team.useNoise(int64(p.largestBatch()), int64(set.C), int64(set.H), int64(set.W))
		st.noise = lead.noise
		return err
	}
	return nil
}
