package trainer

import (
	"slices"

	"go.uber.org/zap"

	torch "rapt/cgo"
)

// recorder has a stage's steps done by CUDA graphs: the device's part of a step, hundreds of launches, becomes one. The
// steps before the recording are ordinary ones: in them libtorch chooses and sets up what it does once.
type recorder struct {
	batch  int // images in a step's batch; another number of them is another graph, and done without
	eager  int // ordinary steps still to be done
	graph  *torch.Graph
	static inputs // what the recording reads; a step's own are copied into it
}

// eagerSteps are enough for cuDNN and cuBLAS to have chosen.
const eagerSteps = 3

// WarmSteps on a GPU are over when a step is replayed and not recorded.
const WarmSteps = eagerSteps + 2

// list holds each tensor once.
func (in inputs) list() []torch.Tensor {
	ts := []torch.Tensor{in.x, in.y}
	if in.target != in.y {
		ts = append(ts, in.target)
	}
	if in.start != (torch.Tensor{}) {
		ts = append(ts, in.start)
	}
	return ts
}

// kept copies the tensors to ones that live until they are freed.
func (in inputs) kept(s *torch.Session) inputs {
	keep := func(t torch.Tensor) torch.Tensor {
		if t == (torch.Tensor{}) {
			return t
		}
		t = t.Clone()
		s.Keep(t)
		return t
	}
	out := inputs{x: keep(in.x), y: keep(in.y), start: keep(in.start)}
	out.target = out.y
	if in.target != in.y {
		out.target = keep(in.target)
	}
	return out
}

// step is member.compute for the member's part of a batch of total images. Where recording fails, all goes on without.
func (r *recorder) step(m *member, o *objective, in inputs, total int) error {
	switch {
	case total != r.batch:
		return m.compute(o, in, total)
	case r.graph != nil:
		m.s.CopyLists_(r.static.list(), in.list())
	case r.eager > 0:
		r.eager--
		return m.compute(o, in, total)
	default:
		r.static = in.kept(m.s)
		g, err := m.s.Capture(func() { m.s.Fail(m.compute(o, r.static, total)) })
		if err != nil {
			r.close(m)
			m.unrecorded = err
			return m.compute(o, in, total)
		}
		r.graph = g
	}
	r.graph.Replay()
	return nil
}

// close ends the recording; m has no recorder then.
func (r *recorder) close(m *member) {
	if r == nil {
		return
	}
	r.graph.Close()
	m.s.Free(r.static.list()...)
	m.recorder = nil
}

// graphs says whether the device's steps are recorded, or why not.
func (p *pipeline) graphs(dev torch.Device) string {
	switch err := torch.CUDAGraphs(); {
	case !dev.IsCUDA():
		return "no: only GPUs have them"
	case !p.cfg.Run.CUDAGraphs:
		return "no: run.cuda_graphs is false"
	case err != nil:
		return "no: " + err.Error()
	}
	return "yes"
}

// record has the stage's steps recorded where that can be. An earlier stage's recordings end.
func (p *pipeline) record() {
	p.team.stopRecording()
	if p.graphs(p.team.members[0].s.Device()) != "yes" || p.unrecorded != nil {
		return
	}
	for _, m := range p.team.members { // each on a GPU of its own, waiting
		m.recorder = &recorder{batch: p.cfg.Data.BatchSize, eager: eagerSteps}
	}
}

// roomToRecord gives back, before a batch of total images is recorded, the memory that the steps before it have left over: a recording takes its own, as
// much again, and cannot have what is kept for other work.
func (p *pipeline) roomToRecord(total int) error {
	if slices.ContainsFunc(p.team.members, func(m *member) bool { return m.recorder.records(total) }) {
		return torch.EmptyCUDACache()
	}
	return nil
}

// records tells whether the next step, of a batch of total images, is recorded.
func (r *recorder) records(total int) bool {
	return r != nil && r.graph == nil && r.eager == 0 && r.batch == total
}

// stopRecording ends the members' recordings, and gives their memory back: libtorch would keep it for the stream.
func (t *team) stopRecording() {
	recorded := false
	for _, m := range t.members {
		if m.recorder != nil {
			recorded = recorded || m.recorder.graph != nil
			_ = onOwn(m, func() error { m.recorder.close(m); return nil })
		}
	}
	if recorded {
		_ = torch.EmptyCUDACache() // what it could not give back stays in use
	}
}

// recorded sees whether a member could not record the step that was just done: then none records any more, and the run notes once why.
func (p *pipeline) recorded() {
	for _, m := range p.team.members {
		if m.unrecorded != nil {
			p.notRecorded(m.unrecorded)
			m.unrecorded = nil
			p.team.stopRecording()
			_ = torch.EmptyCUDACache() // of what the recording had taken
		}
	}
}

func (p *pipeline) notRecorded(err error) {
	p.unrecorded = err
	p.log.Warn("CUDA graphs are not used: a step could not be recorded", zap.Error(err))
	if p.env == nil {
		return // a probe
	}
	p.env["cuda_graphs"] = "no: " + err.Error()
	if err := p.run.WriteJSON("env.json", p.env); err != nil {
		p.log.Warn("env.json could not be written", zap.Error(err))
	}
}
