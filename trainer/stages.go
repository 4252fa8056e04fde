package trainer

import (
	"fmt"
	"math"
	"slices"

	"rapt/admm"
	"rapt/trainer/config"
)

// stages are those of the config, in order, with the run's steps before each.
func (p *pipeline) stages() ([]*stage, error) {
	out := p.main()
	if len(p.plans) > 1 && (slices.Contains(p.options.Stages, "admm") || slices.Contains(p.options.Stages, "retrain")) {
		return nil, &InputError{fmt.Errorf("prune.steps has %d steps, which take turns at admm and retrain: rapt run does them all", len(p.plans))}
	}
	out = append(out, p.quantStages(out)...)
	out = append(out, p.baselines(out)...)
	offset := int64(0)
	chosen := false
	for _, st := range out {
		st.offset = offset
		offset += int64(st.conf.Epochs) * int64(p.stepsPerEpoch())
		st.chosen = p.options.Stages == nil || !st.baseline && slices.Contains(p.options.Stages, st.name)
		chosen = chosen || st.chosen
	}
	if !chosen {
		return nil, &InputError{fmt.Errorf("the config has no epochs for stage %s", p.options.Stages[0])}
	}
	p.all = out
	return out, nil
}

// main are the stages that lead to the pruned model, and to the smaller network that is left of it. With several steps of pruning the last step's are admm
// and retrain, those before it admm_1, retrain_1 and so on.
func (p *pipeline) main() []*stage {
	c := p.cfg
	var out []*stage
	from := ""
	add := func(st *stage) {
		if st.conf.Epochs > 0 {
			st.from, from = from, st.name
			out = append(out, st)
		}
	}
	add(&stage{name: "pretrain", section: "pretrain", conf: c.Pretrain, plan: p.plan})
	for i, plan := range p.plans {
		end := ""
		if i+1 < len(p.plans) {
			end = fmt.Sprintf("_%d", i+1)
		}
		conf := c.ADMM
		conf.Rho *= config.Number(math.Pow(float64(conf.RhoStepGrowth), float64(i)))
		st := &stage{name: "admm" + end, section: "admm", conf: conf, plan: plan, admm: true}
		if i > 0 || c.Prune.HoldZeros {
			st.mask.from = itsZeros
		}
		add(st)
		add(&stage{name: "retrain" + end, section: "retrain", conf: c.Retrain, plan: plan, mask: masking{from: pruneFirst}})
	}
	add(&stage{name: compactName, section: "compact", conf: c.Compact, plan: p.plan, mask: p.smallMask(from), small: true})
	return out
}

// baselines are the further models that evaluate.baselines asks for.
func (p *pipeline) baselines(main []*stage) []*stage {
	c := p.cfg
	pretrained := ""
	if len(main) > 0 && main[0].name == "pretrain" {
		pretrained = "pretrain"
	}
	var out []*stage
	add := func(st stage) {
		st.baseline, st.plan = true, p.plan
		out = append(out, &st)
	}
	pruned := masking{from: pruneFirst}
	for _, b := range c.Evaluate.Baselines {
		switch b {
		case "natural":
			add(stage{name: b, section: "pretrain", conf: c.Pretrain, natural: true})
		case "one_shot":
			add(stage{name: b, section: "retrain", from: pretrained, mask: pruned})
			if c.Retrain.Epochs > 0 {
				add(stage{name: "one_shot_retrain", section: "retrain", conf: c.Retrain, from: pretrained, mask: pruned})
			}
		case "gradual":
			conf := c.Retrain
			conf.Epochs = (c.ADMM.Epochs + c.Retrain.Epochs) * len(p.plans)
			add(stage{name: b, section: "retrain", conf: conf, from: pretrained, mask: masking{from: pruneFirst, gradual: conf.Epochs - c.Retrain.Epochs}})
		case "scratch":
			add(stage{name: b, section: "pretrain", conf: c.Pretrain, fresh: true, mask: pruned})
		case "mask":
			add(stage{name: b, section: "pretrain", conf: c.Pretrain, fresh: true, mask: masking{from: maskOf, of: "retrain"}})
		case "lottery":
			add(stage{name: b, section: "pretrain", conf: c.Pretrain, mask: masking{from: maskOf, of: "retrain"}})
		}
	}
	return out
}

// rhoOptions are the stage's for ADMM: of rho, and what is pruned.
func rhoOptions(st *stage) admm.Options {
	return admm.Options{Type: st.plan.kind, Rho: float64(st.conf.Rho), RhoMode: admm.RhoMode(st.conf.RhoMode), RhoGrowth: float64(st.conf.RhoGrowth),
		Patterns: st.plan.patterns}
}

// startModel loads what the stage starts from, or its own last model.
func (p *pipeline) startModel(st *stage, resumed bool) error {
	switch {
	case resumed:
		return nil // restore brings the model
	case p.start != nil:
		return p.team.load("what is left of the network", p.start.file)
	case st.from == "" && st.fresh:
		return p.initialise(st.name)
	case st.from == "":
		return p.initial()
	}
	if err := p.ended(st); err != nil {
		return err
	}
	if i := slices.IndexFunc(p.all, func(s *stage) bool { return s.name == st.from }); !p.all[i].saved.Done {
		return &InputError{fmt.Errorf("stage %s starts from the model of %s, which has not come to its end in %s: finish that stage first", st.name, st.from, p.run.Dir)}
	}
	return p.useModel(st.from)
}

// useModel loads a stage's chosen model.
func (p *pipeline) useModel(name string) error {
	model, _, _, err := p.run.LoadCheckpoint(name, "best")
	if err != nil {
		return err
	}
	return p.team.load(p.run.CheckpointPath(name, "best"), model)
}
