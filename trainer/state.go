package trainer

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	torch "rapt/cgo"
	"rapt/models"
	"rapt/trainer/checkpoint"
	"rapt/trainer/metrics"
)

func faultf(format string, args ...any) error {
	return fmt.Errorf("a fault in rapt, please report it: "+format, args...)
}

func short(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }

func (p *pipeline) dir() string { return p.cfg.Run.OutDir + string(os.PathSeparator) + p.cfg.Run.Name }

// resumePoint reads how far a stage came, and gives the run's step at which metrics go on.
func (p *pipeline) resumePoint(st *stage) (int64, error) {
	if !p.run.HasCheckpoint(st.name, "last") {
		return st.offset + 1, nil
	}
	_, _, info, err := p.run.LoadCheckpoint(st.name, "last")
	if err != nil {
		return 0, err
	}
	if err := json.Unmarshal(info, &st.saved); err != nil {
		return 0, &InputError{fmt.Errorf("%s: its .json is not what rapt wrote: %w", p.run.CheckpointPath(st.name, "last"), err)}
	}
	if st.saved.Stage != st.name {
		return 0, &InputError{fmt.Errorf("%s is of stage %s: put back the run's own", p.run.CheckpointPath(st.name, "last"), st.saved.Stage)}
	}
	if was, now := st.saved.EpochSteps, p.stepsPerEpoch(); was != 0 && was != now {
		return 0, p.cfg.Errorf("run.device", "%s was trained in %d steps an epoch, and on what run.device is now they would be %d, since a last batch must have two images for each GPU or worker: as many as before are needed",
			p.run.Dir, was, now)
	}
	return st.offset + int64(st.saved.Epoch*p.stepsPerEpoch()+st.saved.Step) + 1, nil
}

// save writes the stage's checkpoint: the model, for "last" all that is needed to go on, and for "best" the codes of
// quantised weights. It reaches the disk while training goes on: p.run.Wait waits for it.
func (p *pipeline) save(st *stage, which string) (err error) {
	st.saved.Seconds = st.spent()
	if which == "last" {
		p.periodic.last = time.Now()
	}
	var model, state *checkpoint.File
	p.team.members[0].s.Do(func() { model, state, err = p.files(st, which) })
	if err != nil {
		return err
	}
	return p.run.SaveAside(st.name, which, model, st.saved, state)
}

// files are copies of what save writes.
func (p *pipeline) files(st *stage, which string) (model, state *checkpoint.File, err error) {
	meta := p.metadata(st)
	if state, err = st.held.file(meta); err != nil {
		return nil, nil, err
	}
	if which == "last" {
		if state, err = p.stateFile(st); err != nil {
			return nil, nil, err
		}
	}
	if model, err = modelFile(p.team.members[0].model, meta); err != nil {
		return nil, nil, err
	}
	if name := notFiniteIn(model); name != "" { // the loss of the step that did it was one still
		return nil, nil, fmt.Errorf("%s is not finite after epoch %d, step %d of stage %s: it is not saved; a lower %s.lr may help", name, st.saved.Epoch+1, st.saved.Step,
			st.name, st.section)
	}
	return model, state, nil
}

// notFiniteIn names the first tensor of a model that holds what is no number, "" where there is none.
func notFiniteIn(f *checkpoint.File) string {
	for _, t := range f.Tensors {
		if t.DType != checkpoint.TypeF32 {
			continue
		}
		for at := 0; at+4 <= len(t.Data); at += 4 {
			if binary.LittleEndian.Uint32(t.Data[at:])>>23&0xff == 0xff { // NaN and the infinities
				return t.Name
			}
		}
	}
	return ""
}

// stateTensors are the tensors beside the model that a stage needs to go on, under their names.
func (st *stage) stateTensors() (names []string, tensors []torch.Tensor) {
	if st.opt != nil {
		n, t, steps := st.opt.State()
		st.saved.Steps = steps
		names, tensors = append(names, prefixed("optimizer.", n)...), append(tensors, t...)
	}
	if st.split != nil {
		n, t := st.split.Tensors()
		st.saved.Rho, st.saved.Rhos = st.split.Rho(), st.split.Rhos()
		names, tensors = append(names, n...), append(tensors, t...)
	}
	if st.masks != nil {
		names, tensors = append(names, prefixed("mask.", st.masks.names)...), append(tensors, st.masks.masks...)
	}
	if st.held != nil {
		n, t := st.held.tensors()
		names, tensors = append(names, n...), append(tensors, t...)
	}
	if st.average != nil {
		names, tensors = append(names, prefixed(emaPrefix, st.average.names)...), append(tensors, st.average.mean...)
	}
	if st.noise.Defined() {
		names, tensors = append(names, "noise"), append(tensors, st.noise)
	}
	return names, tensors
}

func prefixed(prefix string, names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = prefix + n
	}
	return out
}

func (p *pipeline) stateFile(st *stage) (*checkpoint.File, error) {
	names, tensors := st.stateTensors()
	f := &checkpoint.File{}
	for i, t := range tensors {
		stored, err := toFile(names[i], t)
		if err != nil {
			return nil, err
		}
		f.Tensors = append(f.Tensors, stored)
	}
	return f, nil
}

// restore brings back the stage's last model and state.
func (p *pipeline) restore(st *stage) error {
	path := p.run.CheckpointPath(st.name, "last")
	model, state, _, err := p.run.LoadCheckpoint(st.name, "last")
	if err != nil {
		return err
	}
	if err := p.team.load(path, model); err != nil {
		return err
	}
	steps, rho, rhos := st.saved.Steps, st.saved.Rho, st.saved.Rhos
	names, tensors := st.stateTensors()
	for i, t := range tensors {
		stored, ok := get(state, names[i])
		if !ok {
			return &InputError{fmt.Errorf("%s: its trainer state lacks %s", path, names[i])}
		}
		if err := fill(p.team.members[0].s, t, stored); err != nil {
			return &InputError{fmt.Errorf("%s: trainer state %s: %w", path, names[i], err)}
		}
	}
	st.saved.Steps, st.saved.Rho, st.saved.Rhos = steps, rho, rhos
	st.opt.SetSteps(steps)
	if st.split != nil {
		st.split.SetRho(rho) // of a version that had one rho for all
		st.split.SetRhos(rhos)
	}
	return p.team.members[0].s.Err()
}

func get(f *checkpoint.File, name string) (checkpoint.Tensor, bool) {
	if f == nil {
		return checkpoint.Tensor{}, false
	}
	return f.Get(name)
}

var fileTypes = map[torch.DType]checkpoint.DType{torch.Float32: checkpoint.TypeF32, torch.Int64: checkpoint.TypeI64}

func toFile(name string, t torch.Tensor) (checkpoint.Tensor, error) {
	data, err := t.Detach().Bytes()
	if err != nil {
		return checkpoint.Tensor{}, err
	}
	return checkpoint.Tensor{Name: name, DType: fileTypes[t.DType()], Shape: t.Shape(), Data: data}, nil
}

// matches compares a stored tensor's shape and type with those of t.
func matches(t torch.Tensor, shape []int64, dtype checkpoint.DType) error {
	if want := t.Shape(); !slices.Equal(shape, want) {
		return fmt.Errorf("has shape %v where the model has %v", shape, want)
	}
	if want := fileTypes[t.DType()]; dtype != want {
		return fmt.Errorf("holds %s where the model has %s", dtype, want)
	}
	return nil
}

// fill overwrites t with a stored tensor of the same shape and type.
func fill(s *torch.Session, t torch.Tensor, stored checkpoint.Tensor) error {
	if err := matches(t, stored.Shape, stored.DType); err != nil {
		return err
	}
	s.Do(func() { t.Detach().Copy_(s.FromBytes(stored.Data, t.DType(), stored.Shape...)) })
	return s.Err()
}

// modelFile is a model's state dict as a checkpoint.
func modelFile(model *models.Model, meta map[string]string) (*checkpoint.File, error) {
	f := &checkpoint.File{Metadata: meta}
	for _, e := range model.State {
		t, err := toFile(e.Name, *e.Tensor)
		if err != nil {
			return nil, err
		}
		f.Tensors = append(f.Tensors, t)
	}
	return f, nil
}

// fits compares the names, shapes and types of a checkpoint's header with those of a model, which may be one for its shapes alone.
func fits(path string, meta map[string]string, infos []checkpoint.TensorInfo, model *models.Model) error {
	spec := model.Spec
	if arch := meta["arch"]; arch != "" && arch != spec.Arch {
		return &InputError{fmt.Errorf("%s holds a %.80q, not a %q", path, arch, spec.Arch)}
	}
	if meta["graph"] != spec.Graph {
		return &InputError{fmt.Errorf("%s describes another network of its own than the one that is trained", path)}
	}
	if w := meta["width"]; w != "" && w != strconv.Itoa(spec.Width) {
		return &InputError{fmt.Errorf("%s holds a %s of width %.80q, not %d", path, spec.Arch, w, spec.Width)}
	}
	if err := sameNormalisation(path, meta, spec); err != nil {
		return err
	}
	if made, err := readChannels(meta["channels"]); err != nil || !maps.Equal(made, spec.Channels) {
		return &InputError{fmt.Errorf("%s has other channels left of a %s than the network that is trained, which has those of model.load", path, spec.Arch)}
	}
	given := map[string]checkpoint.TensorInfo{}
	for _, stored := range infos {
		given[stored.Name] = stored
	}
	for _, e := range model.State {
		stored, ok := given[e.Name]
		delete(given, e.Name)
		if !ok {
			return &InputError{fmt.Errorf("%s lacks %s, so it is no checkpoint of %s", path, e.Name, spec.Arch)}
		}
		if err := matches(*e.Tensor, stored.Shape, stored.DType); err != nil {
			return &InputError{fmt.Errorf("%s: %s %w", path, e.Name, err)}
		}
	}
	for _, stored := range infos {
		if _, left := given[stored.Name]; left {
			return &InputError{fmt.Errorf("%s holds %s, which %s does not have", path, stored.Name, spec.Arch)}
		}
	}
	return nil
}

// load puts a checkpoint's state dict into the team's model, which it must fit.
func (t *team) load(path string, f *checkpoint.File) error {
	lead := t.members[0]
	if err := fits(path, f.Metadata, f.Infos(), lead.model); err != nil {
		return err
	}
	for _, e := range lead.model.State {
		stored, _ := f.Get(e.Name)
		if err := fill(lead.s, *e.Tensor, stored); err != nil {
			return &InputError{fmt.Errorf("%s: %s %w", path, e.Name, err)}
		}
	}
	t.spread()
	return lead.s.Err()
}

// sameNormalisation refuses a checkpoint of rapt whose network saw its pixels in another way.
func sameNormalisation(path string, meta map[string]string, spec models.Spec) error {
	mean, std := joined(spec.Mean, float), joined(spec.Std, float)
	if meta["arch"] == "" || meta["mean"] == mean && meta["std"] == std {
		return nil
	}
	say := func(mean, std string) string {
		if mean == "" {
			return "none"
		}
		return fmt.Sprintf("[%s] and [%s]", mean, std)
	}
	return &InputError{fmt.Errorf("%s was trained with the data.mean and data.std %s, not %s", path, say(meta["mean"], meta["std"]), say(mean, std))}
}

// loadFrom is load for the config's model.load, which may be empty.
func (t *team) loadFrom(path string) error {
	if path == "" {
		return nil
	}
	meta, infos, err := checkpoint.ReadHeader(path)
	if err != nil {
		return err
	}
	if err := fits(path, meta, infos, t.members[0].model); err != nil { // before memory is taken for what the header claims
		return err
	}
	f, err := checkpoint.Read(path)
	if err != nil {
		return err
	}
	return t.load(path, f)
}

// sparsityNow counts the zeros of the model in hand.
func (p *pipeline) sparsityNow() (sum metrics.Sparsity, err error) {
	p.team.members[0].s.Do(func() {
		var layers []metrics.LayerSparsity
		for _, e := range p.plan.entries {
			var data []float32
			if data, err = e.Tensor.Detach().Float32s(); err != nil {
				return
			}
			layers = append(layers, metrics.LayerOf(e.Name, e.Tensor.Shape(), data))
		}
		sum = metrics.Summarise(string(p.plan.kind), layers)
	})
	return sum, err
}

// sparsityOf counts the zeros of a stage's chosen model.
func (p *pipeline) sparsityOf(name string) (metrics.Sparsity, error) {
	model, _, _, err := p.run.LoadCheckpoint(name, "best")
	if err != nil {
		return metrics.Sparsity{}, err
	}
	return p.sparsityIn(model)
}

func (p *pipeline) sparsityIn(model *checkpoint.File) (metrics.Sparsity, error) {
	var layers []metrics.LayerSparsity
	for _, e := range p.plan.entries {
		l, err := layerOf(model, e.Name)
		if err != nil {
			return metrics.Sparsity{}, err
		}
		layers = append(layers, l)
	}
	return metrics.Summarise(string(p.plan.kind), layers), nil
}

func layerOf(f *checkpoint.File, name string) (metrics.LayerSparsity, error) {
	t, ok := f.Get(name)
	if !ok {
		return metrics.LayerSparsity{}, fmt.Errorf("the checkpoint lacks %s", name)
	}
	data, err := t.Float32s()
	if err != nil {
		return metrics.LayerSparsity{}, err
	}
	return metrics.LayerOf(name, t.Shape, data), nil
}
