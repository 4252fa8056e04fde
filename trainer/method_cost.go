package trainer

// What rapt plan goes by: a method's cost.

// graphs is how many forward passes a step's loss holds at once.
func (o *objective) graphs() int64 {
	if o.method == "trades" || o.method == "mart" {
		return 2
	}
	return 1
}

// passes is how many forward and backward passes a step takes, about.
func (o *objective) passes() float64 {
	n := float64(o.graphs())
	if o.awp != nil {
		n *= 2
	}
	switch o.method {
	case "natural":
	case "free":
		n *= float64(o.replays)
	default:
		n += float64(o.attack.Steps)
	}
	return n
}

// copies is how many times the weights are held.
func (p *pipeline) copies() (n int64) {
	n = 1
	for _, on := range []bool{p.cfg.Training.EMADecay > 0, p.cfg.Training.AWPGamma > 0} {
		if on {
			n++
		}
	}
	return n
}

// methodPasses are those of training.method.
func (p *pipeline) methodPasses() float64 {
	o := p.objectiveOf(&stage{})
	if p.cfg.Training.AWPGamma > 0 {
		o.awp = &weightPerturbation{}
	}
	return o.passes()
}
