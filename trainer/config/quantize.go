package config

import (
	"slices"

	"gopkg.in/yaml.v3"
)

// Quantize says which weights are quantised, and to how many bits. A layer named in Layers gets those bits, every other
// convolution and linear layer gets Bits. Biases and batch norms stay float32.
type Quantize struct {
	Bits     int         `yaml:"bits"`      // 1 to 8; 0, the default, is float32
	Layers   []LayerBits `yaml:"layers"`    // a mapping in the file, kept in its order
	Levels   string      `yaml:"levels"`    // equal or power_of_two; default equal
	EndsLast bool        `yaml:"ends_last"` // first and last layer in a second pair of stages, after the others; default true
}

// LayerBits is one layer's bits. Layer is a name as in LayerRatio.
type LayerBits struct {
	Layer string
	Bits  int
	Line  int // in the config file; 0 where it did not come from one
}

// admmSections are those that have the ADMM stage's own keys.
var admmSections = []string{"admm", "quantize_admm"}

// MarshalYAML writes the layers as the mapping they are read from, in their order.
func (q Quantize) MarshalYAML() (any, error) {
	layers, err := layerNode(q.Layers)
	if err != nil {
		return nil, err
	}
	return struct {
		Bits     int        `yaml:"bits"`
		Layers   *yaml.Node `yaml:"layers"`
		Levels   string     `yaml:"levels"`
		EndsLast bool       `yaml:"ends_last"`
	}{q.Bits, layers, q.Levels, q.EndsLast}, nil
}

func (c *Config) completeQuantize(usual preset) {
	fill(c, "quantize.levels", &c.Quantize.Levels, "equal")
	fill(c, "quantize.ends_last", &c.Quantize.EndsLast, true)
	c.completeStage("quantize_admm", &c.QuantizeADMM, usual)
	c.completeStage("quantize_retrain", &c.QuantizeRetrain, usual)
	c.completeRho("quantize_admm", &c.QuantizeADMM)
	fill(c, "quantize_admm.update_every", &c.QuantizeADMM.UpdateEvery, usual.updateEvery)
}

// any tells whether something is to be quantised.
func (q *Quantize) any() bool {
	return q.Bits > 0 || slices.ContainsFunc(q.Layers, func(one LayerBits) bool { return one.Bits > 0 })
}

var levels = []string{"equal", "power_of_two"}

func (v *checker) quantize(q *Quantize) {
	v.word("quantize.levels", q.Levels, levels)
	most := 8
	if q.Levels == "power_of_two" {
		most = 6
	}
	v.bits("quantize.bits", q.Bits, most)
	seen := map[string]bool{}
	for _, one := range q.Layers {
		key := "quantize.layers." + one.Layer
		if seen[one.Layer] {
			v.fail(key, "is given twice")
		}
		seen[one.Layer] = true
		v.bits(key, one.Bits, most)
	}
	v.stage("quantize_admm", &v.cfg.QuantizeADMM)
	v.stage("quantize_retrain", &v.cfg.QuantizeRetrain)
	v.admm("quantize_admm", &v.cfg.QuantizeADMM)
	for _, one := range []struct {
		section string
		epochs  int
	}{{"quantize_admm", v.cfg.QuantizeADMM.Epochs}, {"quantize_retrain", v.cfg.QuantizeRetrain.Epochs}} {
		if one.epochs > 0 && !q.any() {
			v.relate(one.section+".epochs", "is %d, but nothing is to be quantised: quantize.bits or quantize.layers above 0 is needed", one.epochs)
		}
	}
	if q.any() && v.cfg.QuantizeRetrain.Epochs == 0 {
		v.relate("quantize_retrain.epochs", "is 0, but the weights are put on the levels of the quantize section there: 1 or more is needed")
	}
}

func (v *checker) bits(key string, bits, most int) {
	switch {
	case bits >= 0 && bits <= most:
	case bits > 0 && bits <= 8:
		v.fail(key, "is %d: powers of two go to %d bits, beyond which they are too small to tell from zero", bits, most)
	default:
		v.fail(key, "is %d: 1 to %d, or 0 for float32, is needed", bits, most)
	}
}
