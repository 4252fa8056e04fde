package config

// training checks what the methods need beside the keys that all of them share.
func (v *checker) training(t *Training) {
	v.fraction("training.ema_decay", t.EMADecay)
	if t.EMADecay > 0 && (v.cfg.QuantizeADMM.Epochs > 0 || v.cfg.QuantizeRetrain.Epochs > 0) {
		v.relate("training.ema_decay", "is %v, but an average of weights that are held on levels lies on none: quantise in a run of its own, from model.load", t.EMADecay)
	}
}
