package trainer

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"rapt/adversarial"
	"rapt/datasets"
	"rapt/models"
)

// metadata is what a checkpoint's __metadata__ tells eval and PyTorch users.
func (p *pipeline) metadata(st *stage) map[string]string {
	c := p.cfg
	epsilon := p.attack.Epsilon // the test's ball; all of its attacks have one
	var attacks []string
	for _, j := range p.judges {
		epsilon = j.settings.Epsilon
		attacks = append(attacks, j.name+"="+float(j.stepSize()))
	}
	method := c.Training.Method
	if st.natural {
		method = "natural"
	}
	meta := map[string]string{
		"format": "pt", "dataset": c.Data.Dataset, "arch": p.spec.Arch, "width": strconv.Itoa(max(p.spec.Width, 1)), "classes": strconv.Itoa(p.spec.Classes),
		"method": method, "stage": st.name, "epoch": strconv.Itoa(st.saved.Epoch), "sparsity_type": string(p.plan.kind),
		"norm": p.attack.Norm.String(), "epsilon": float(epsilon), "random_start": strconv.FormatBool(p.attack.RandomStart),
		"attacks": strings.Join(attacks, ","), // name=step size, ...; 0 where the attack has none
		"name":    c.Run.Name, "seed": strconv.FormatUint(c.Run.Seed, 10), "data_sha256": p.parts.SHA256,
		"test_limit": strconv.Itoa(c.Data.TestLimit), "rapt_version": p.options.Version,
		"input": joined(p.spec.Input[:], func(n int64) string { return strconv.FormatInt(n, 10) }), // channels, height, width
	}
	if a := p.attack; c.Evaluate.StepSize == 0 && a.Epsilon == epsilon {
		meta["adversary"] = fmt.Sprintf("pgd-%d=%s", a.Steps, float(a.StepSize)) // what an attack of that name steps by, asked for or not
	}
	if p.spec.Graph != "" {
		meta["graph"] = p.spec.Graph
	}
	if len(p.spec.Channels) > 0 {
		meta["channels"] = channelList(p.spec.Channels)
	}
	if len(p.spec.Mean) > 0 { // the network sees (pixels - mean) / std
		meta["mean"], meta["std"] = joined(p.spec.Mean, float), joined(p.spec.Std, float)
	}
	if len(p.parts.Train.Names) > 0 {
		meta["class_names"] = classNames(p.parts.Train)
	}
	describeData(meta, c.Data)
	return meta
}

func joined[E any](list []E, text func(E) string) string {
	var words []string
	for _, v := range list {
		words = append(words, text(v))
	}
	return strings.Join(words, ",")
}

func float(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// described is what a checkpoint's metadata says of its model and the way it is judged.
type described struct {
	dataset, sparsity, method string
	spec                      models.Spec
	attack                    adversarial.PGD
	names                     []string           // of the attacks that the run was tested with
	steps                     map[string]float64 // their step sizes, 0 where they have none
	testLimit                 int
	seed                      uint64
	data                      datasets.Options // of its test set, but for Dataset, TestLimit and Seed
}

// describe reads a checkpoint's metadata. path is for messages.
func describe(path string, meta map[string]string) (d described, err error) {
	need := func(key string) string {
		v, ok := meta[key]
		if !ok && err == nil {
			err = &InputError{fmt.Errorf("%s has no %q in its metadata: it is not a checkpoint of rapt", path, key)}
		}
		return v
	}
	d.dataset, d.spec.Arch = need("dataset"), need("arch")
	d.sparsity, d.method = meta["sparsity_type"], meta["method"]
	numbers := map[string]func(string) error{
		"width":        func(v string) (e error) { d.spec.Width, e = strconv.Atoi(v); return },
		"classes":      func(v string) (e error) { d.spec.Classes, e = strconv.Atoi(v); return },
		"epsilon":      func(v string) (e error) { d.attack.Epsilon, e = strconv.ParseFloat(v, 64); return },
		"random_start": func(v string) (e error) { d.attack.RandomStart, e = strconv.ParseBool(v); return },
		"test_limit":   func(v string) (e error) { d.testLimit, e = strconv.Atoi(v); return },
		"attacks":      d.readAttacks,
		"seed":         func(v string) (e error) { d.seed, e = strconv.ParseUint(v, 10, 64); return },
		"norm":         func(v string) (e error) { d.attack.Norm, e = adversarial.ParseNorm(v); return },
	}
	refuse := func(key, v string) {
		err = &InputError{fmt.Errorf("%s: %q in its metadata is %.200q, which is no value for it", path, key, v)}
	}
	for key, read := range numbers {
		if v := need(key); err == nil && read(v) != nil {
			refuse(key, v)
		}
	}
	for key, read := range d.optional() {
		if v, ok := meta[key]; ok && err == nil && read(v) != nil {
			refuse(key, v)
		}
	}
	data, wrong := testData(meta)
	if d.data = data; err == nil && wrong != "" {
		err = &InputError{fmt.Errorf("%s: %q in its metadata is %q, which is no value for it", path, wrong, meta[wrong])}
	}
	if err == nil {
		if e := models.Check(d.spec); e != nil {
			err = &InputError{fmt.Errorf("%s: %w", path, e)}
		}
	}
	return d, err
}

// optional are what checkpoints of earlier versions, or of networks that see pixels as they are, lack.
func (d *described) optional() map[string]func(string) error {
	return map[string]func(string) error{
		"input": func(v string) error {
			_, err := fmt.Sscanf(v, "%d,%d,%d", &d.spec.Input[0], &d.spec.Input[1], &d.spec.Input[2])
			return err
		},
		"adversary": func(v string) error {
			name, step, _ := strings.Cut(v, "=")
			size, err := strconv.ParseFloat(step, 64)
			if _, known := d.steps[name]; err == nil && !known {
				d.steps[name] = size
			}
			return err
		},
		"graph":    func(v string) error { d.spec.Graph = v; return nil },
		"channels": func(v string) (err error) { d.spec.Channels, err = readChannels(v); return },
		"mean":     func(v string) (err error) { d.spec.Mean, err = readFloats(v); return },
		"std":      func(v string) (err error) { d.spec.Std, err = readFloats(v); return },
	}
}

// channelList writes a network's Channels, as conv1=5,conv2=8, by name.
func channelList(channels map[string]int64) string {
	return joined(slices.Sorted(maps.Keys(channels)), func(layer string) string { return layer + "=" + strconv.FormatInt(channels[layer], 10) })
}

func readChannels(v string) (map[string]int64, error) {
	out := map[string]int64{}
	if v == "" {
		return out, nil
	}
	for _, one := range strings.Split(v, ",") {
		layer, text, _ := strings.Cut(one, "=")
		n, err := strconv.ParseInt(text, 10, 64)
		if _, twice := out[layer]; err != nil || twice {
			return nil, fmt.Errorf("%q is no layer=channels", one)
		}
		out[layer] = n
	}
	return out, nil
}

func readFloats(v string) (out []float64, err error) {
	for _, word := range strings.Split(v, ",") {
		f, err := strconv.ParseFloat(word, 64)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// readAttacks reads "pgd-40=0.01,pgd-100=0.0075".
func (d *described) readAttacks(v string) error {
	d.steps = map[string]float64{}
	if v == "" {
		return nil
	}
	for _, one := range strings.Split(v, ",") {
		name, step, _ := strings.Cut(one, "=")
		size, err := strconv.ParseFloat(step, 64)
		if err != nil {
			return err
		}
		d.names = append(d.names, name)
		d.steps[name] = size
	}
	return nil
}
