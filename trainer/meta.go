package trainer

import (
	"fmt"
	"strconv"
	"strings"

	"rapt/adversarial"
	"rapt/models"
)

// metadata is what a checkpoint's __metadata__ tells eval and PyTorch users.
func (p *pipeline) metadata(st *stage) map[string]string {
	c := p.cfg
	var names []string
	for _, j := range p.judges {
		names = append(names, j.Name())
	}
	pruned := string(p.plan.kind)
	return map[string]string{
		"format": "pt", "dataset": c.Data.Dataset, "arch": p.spec.Arch, "width": strconv.Itoa(max(p.spec.Width, 1)), "classes": strconv.Itoa(p.spec.Classes),
		"method": c.Training.Method, "stage": st.name, "epoch": strconv.Itoa(st.saved.Epoch), "sparsity_type": pruned,
		"norm": p.attack.Norm.String(), "epsilon": number(p.judges, p.attack, func(a adversarial.PGD) float64 { return a.Epsilon }),
		"step_size":    number(p.judges, p.attack, func(a adversarial.PGD) float64 { return a.StepSize }),
		"random_start": strconv.FormatBool(p.attack.RandomStart), "attacks": strings.Join(names, ","), "seed": strconv.FormatUint(c.Run.Seed, 10),
		"data_sha256": p.parts.SHA256, "train_limit": strconv.Itoa(c.Data.TrainLimit), "rapt_version": p.options.Version,
	}
}

// number is a setting of the test's attacks, or of the training's where there is none.
func number(judges []adversarial.PGD, train adversarial.PGD, of func(adversarial.PGD) float64) string {
	a := train
	if len(judges) > 0 {
		a = judges[0]
	}
	return strconv.FormatFloat(of(a), 'g', -1, 64)
}

// described is what a checkpoint's metadata says of its model and the way it is judged.
type described struct {
	dataset, sparsity, method string
	spec                      models.Spec
	attack                    adversarial.PGD
	attacks                   []string
	seed                      uint64
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
		"step_size":    func(v string) (e error) { d.attack.StepSize, e = strconv.ParseFloat(v, 64); return },
		"random_start": func(v string) (e error) { d.attack.RandomStart, e = strconv.ParseBool(v); return },
		"seed":         func(v string) (e error) { d.seed, e = strconv.ParseUint(v, 10, 64); return },
		"norm":         func(v string) (e error) { d.attack.Norm, e = adversarial.ParseNorm(v); return },
	}
	for key, read := range numbers {
		if v := need(key); err == nil {
			if e := read(v); e != nil {
				err = &InputError{fmt.Errorf("%s: %q in its metadata is %q, which is no value for it", path, key, v)}
			}
		}
	}
	if err == nil {
		if e := models.Check(d.spec); e != nil {
			err = &InputError{fmt.Errorf("%s: %w", path, e)}
		}
	}
	if names := meta["attacks"]; names != "" {
		d.attacks = strings.Split(names, ",")
	}
	return d, err
}
