package trainer

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"rapt/admm"
	"rapt/adversarial"
	torch "rapt/cgo"
	"rapt/models"
	"rapt/trainer/checkpoint"
	"rapt/trainer/config"
)

// quantisation says which parameters are quantised, and how.
type quantisation struct {
	layers []quantLayer // in the state dict's order
}

// quantLayer is one weight that is quantised.
type quantLayer struct {
	name   string
	at     int // in the model's parameters
	weight torch.Tensor
	quant  admm.Quant
	end    bool // of the network's first or last layer
}

// newQuantisation resolves the config's bits against a model. Its handles belong to the model's session.
func newQuantisation(cfg *config.Config, model *models.Model) (*quantisation, error) {
	all := prunable(model)
	c := cfg.Quantize
	var single []admm.LayerBits
	for _, one := range c.Layers {
		single = append(single, admm.LayerBits{Layer: one.Layer, Bits: one.Bits})
	}
	bits, err := admm.ResolveBits(c.Bits, single, all.infos)
	if err != nil {
		return nil, cfg.Errorf(badBits(cfg, err), "%v", err)
	}
	isEnd := func(l admm.Info) bool { return l.Kind != admm.Norm }
	first := slices.IndexFunc(all.infos, isEnd)
	last := len(all.infos) - 1
	for last >= 0 && !isEnd(all.infos[last]) {
		last--
	}
	q := &quantisation{}
	for i, e := range all.entries {
		if bits[i] > 0 {
			q.layers = append(q.layers, quantLayer{name: e.Name, at: all.at[i], weight: *e.Tensor,
				quant: admm.Quant{Bits: bits[i], PowerOfTwo: c.Levels == "power_of_two"}, end: i == first || i == last})
		}
	}
	return q, nil
}

// badBits is the config key that a complaint of admm.ResolveBits is about: that of the layer it names first.
func badBits(cfg *config.Config, err error) string {
	for _, word := range strings.FieldsFunc(err.Error(), func(r rune) bool { return strings.ContainsRune(" ,:", r) }) {
		for _, l := range cfg.Quantize.Layers {
			if l.Layer == word {
				return "quantize.layers." + word
			}
		}
	}
	return "quantize.bits"
}

// quantStage is what one stage of quantisation does to which layers.
type quantStage struct {
	held  []quantLayer // on their levels throughout
	drawn []quantLayer // drawn to them by ADMM
	zeros string       // the stage whose model's zeros stay zero; empty: those of model.load
	dense bool         // nothing was pruned before
}

// quantStages are the stages that quantise, after main: a pair of ADMM and retraining, or with quantize.ends_last two
// pairs, the first for all layers but the network's first and last one (arXiv 1903.09769, section on binarisation).
func (p *pipeline) quantStages(main []*stage) []*stage {
	c := p.cfg
	if c.QuantizeADMM.Epochs == 0 && c.QuantizeRetrain.Epochs == 0 {
		return nil
	}
	from, dense, small := "", c.Model.Load == "", false
	if n := len(main); n > 0 {
		last := main[n-1]
		from, dense, small = last.name, last.mask.from == nothing, last.small
	}
	zeros := from
	var inner, ends []quantLayer
	for _, l := range p.quant.layers {
		if l.end && c.Quantize.EndsLast {
			ends = append(ends, l)
		} else {
			inner = append(inner, l)
		}
	}
	var out []*stage
	pair := func(suffix string, held, drawn []quantLayer) {
		all := slices.Concat(held, drawn)
		slices.SortFunc(all, func(a, b quantLayer) int { return a.at - b.at })
		for _, st := range []*stage{
			{name: "quantize_admm" + suffix, section: "quantize_admm", conf: c.QuantizeADMM, plan: p.plan, admm: true, quant: &quantStage{held, drawn, zeros, dense}},
			{name: "quantize_retrain" + suffix, section: "quantize_retrain", conf: c.QuantizeRetrain, plan: p.plan, quant: &quantStage{all, nil, zeros, dense}},
		} {
			if st.conf.Epochs > 0 {
				st.from, from = from, st.name
				st.small = small
				out = append(out, st)
			}
		}
	}
	if len(inner) > 0 && len(ends) > 0 {
		pair("_1", nil, inner)
		pair("", inner, ends)
	} else {
		pair("", nil, slices.Concat(inner, ends))
	}
	return out
}

// beginQuant sets up a stage's masks, levels and ADMM from the model in hand, and puts on their levels the weights that are
// held there. It gives the parameters for the optimizer to move: a held weight's float copy in its place.
func (p *pipeline) beginQuant(st *stage) ([]torch.Tensor, error) {
	lead := p.team.members[0]
	if err := p.holdZeros(st); err != nil {
		return nil, err
	}
	if st.admm {
		var layers []admm.Layer
		for _, l := range st.quant.drawn {
			layers = append(layers, admm.Layer{Name: l.name, Weight: l.weight, Quant: &l.quant, Mask: st.masks.of(l.name)})
			st.pulled = append(st.pulled, lead.grads[l.at])
		}
		st.split = admm.New(lead.s, layers, rhoOptions(st))
	}
	params := slices.Clone(lead.params)
	if len(st.quant.held) > 0 {
		st.held = &heldLevels{}
		for _, l := range st.quant.held {
			h := st.held.add(l, st.masks.of(l.name))
			params[l.at] = h.shadow
		}
		st.held.place(lead.s)
	}
	return params, lead.s.Err()
}

// holdZeros makes the masks of what was pruned before the first stage that quantises. That stage's own zeros would not do
// later on: where zero is a level, a zero is no pruned weight.
func (p *pipeline) holdZeros(st *stage) error {
	if st.quant.dense || p.run == nil { // a probe has no run
		return nil
	}
	var f *checkpoint.File
	var err error
	if st.quant.zeros == "" {
		f, err = checkpoint.Read(p.cfg.Model.Load)
	} else {
		f, _, _, err = p.run.LoadCheckpoint(st.quant.zeros, "best")
	}
	if err != nil {
		return err
	}
	levels, err := readLevels(f.Metadata)
	if err != nil {
		return err
	}
	lead := p.team.members[0]
	held, all := &masks{}, prunable(lead.model)
	for i, e := range all.entries {
		stored, ok := f.Get(e.Name)
		if !ok || levels.dense(e.Name) {
			continue
		}
		data, err := stored.Float32s()
		if err != nil {
			return err
		}
		if !slices.Contains(data, 0) {
			continue
		}
		was := e.Tensor.ZerosLike()
		if err := fill(lead.s, was, stored); err != nil {
			return &InputError{fmt.Errorf("%s: %w", e.Name, err)}
		}
		mask := nonzero(was)
		held.add(lead, e.Name, all.at[i], mask)
		if err := held.takeBias(lead, f, all, e.Layer+".bias", mask); err != nil {
			return err
		}
	}
	if len(held.names) > 0 {
		st.masks = held
	}
	return lead.s.Err()
}

// takeBias adds the mask of a layer's bias, or of a batch norm's shift, which holds what is zero in the file where the mask of the weight leaves nothing
// of the row, or of the scale: a dead channel.
func (k *masks) takeBias(lead *member, f *checkpoint.File, all everyWeight, name string, mask torch.Tensor) error {
	stored, ok := f.Get(name)
	if !ok {
		return nil
	}
	at := all.places[name]
	was := lead.params[at].ZerosLike()
	if err := fill(lead.s, was, stored); err != nil {
		return &InputError{fmt.Errorf("%s: %w", name, err)}
	}
	k.add(lead, name, at, holding(was, mask))
	return nil
}

// measureQuantised validates the model as it would be if ADMM's layers were put on their levels now, and leaves the
// weights as they were.
func (p *pipeline) measureQuantised(ctx context.Context, st *stage) (acc accuracies, err error) {
	lead := p.team.members[0]
	lead.s.Do(func() {
		var weights, kept, now []torch.Tensor
		for _, l := range st.quant.drawn {
			weights, kept = append(weights, l.weight), append(kept, l.weight.Detach().Clone())
			now = append(now, admm.ProjectLevels(l.weight, l.quant, st.masks.of(l.name)))
		}
		lead.s.CopyLists_(weights, now)
		acc, err = p.measure(ctx, p.val, []adversarial.PGD{p.attack})
		lead.s.CopyLists_(weights, kept)
	})
	return acc, err
}

// heldLevels are weights that the model holds on their levels while they are trained: the optimizer moves a float copy, the
// shadow, by the gradient at the quantised weight (the straight-through estimator, Courbariaux et al., arXiv 1511.00363).
type heldLevels struct{ layers []*heldLayer }

type heldLayer struct {
	quantLayer
	mask   torch.Tensor // absent where nothing was pruned
	shadow torch.Tensor
	scale  torch.Tensor // [1]
	limit  torch.Tensor // [1], of one bit alone
}

// clipAt is where a binary layer's shadows end, in scales of the stage's begin: nothing but the sign comes of them, so
// beyond it they would only take longer to change it. It is fixed, since a scale of clipped shadows shrinks by clipping.
const clipAt = 3

// add holds one more layer, from its present weights.
func (h *heldLevels) add(l quantLayer, mask torch.Tensor) *heldLayer {
	one := &heldLayer{quantLayer: l, mask: mask, shadow: l.weight.Detach().Clone()}
	one.scale = l.quant.Fit(one.shadow, mask)
	if l.quant.Bits == 1 {
		one.limit = one.scale.MulScalar(clipAt)
	}
	h.layers = append(h.layers, one)
	return one
}

// place puts the model's weights on the levels next to the shadows.
func (h *heldLevels) place(s *torch.Session) {
	s.Do(func() {
		var weights, now []torch.Tensor
		for _, l := range h.layers {
			weights, now = append(weights, l.weight), append(now, l.quant.Apply(l.shadow, l.scale, l.mask))
		}
		s.CopyLists_(weights, now)
	})
}

// settle ends a training step: the scales follow the shadows, and the weights both.
func (h *heldLevels) settle(s *torch.Session) {
	s.Do(func() {
		for _, l := range h.layers {
			if l.limit.Defined() {
				l.shadow.Copy_(l.shadow.Minimum(l.limit).Maximum(l.limit.Neg()))
			}
			l.scale.Copy_(l.quant.Refit(l.shadow, l.scale, l.mask))
		}
	})
	h.place(s)
}

// tensors are what goes on from a checkpoint, beside the model.
func (h *heldLevels) tensors() (names []string, ts []torch.Tensor) {
	for _, l := range h.layers {
		names, ts = append(names, "shadow."+l.name, "scale."+l.name), append(ts, l.shadow, l.scale)
		if l.limit.Defined() {
			names, ts = append(names, "limit."+l.name), append(ts, l.limit)
		}
	}
	return names, ts
}

// file is the codes of the weights, for beside a model's checkpoint: codes.NAME int8, scale.NAME [1] and levels.NAME [L],
// where a weight is scale * sign(code) * levels[|code|]. It says in meta what is quantised. Of nothing held it is nil.
func (h *heldLevels) file(meta map[string]string) (*checkpoint.File, error) {
	if h == nil {
		return nil, nil
	}
	f := &checkpoint.File{}
	var all levelList
	for _, l := range h.layers {
		data, err := l.weight.Detach().Float32s()
		if err != nil {
			return nil, err
		}
		scale, err := l.scale.Float32s()
		if err != nil {
			return nil, err
		}
		codes, err := l.quant.Codes(data, scale[0], l.mask.Defined())
		if err != nil {
			return nil, faultf("%s left its levels: %w", l.name, err)
		}
		table := l.quant.Table(l.mask.Defined())
		f.Tensors = append(f.Tensors, checkpoint.I8("codes."+l.name, l.weight.Shape(), codes), checkpoint.F32("scale."+l.name, []int64{1}, scale),
			checkpoint.F32("levels."+l.name, []int64{int64(len(table))}, table))
		all = append(all, storedLevels{l.name, l.quant, scale[0], l.mask.Defined()})
	}
	all.write(meta)
	f.Metadata = map[string]string{"weights": "scale * sign(codes) * levels[abs(codes)]"}
	return f, nil
}
