package trainer

import (
	"os"
	"runtime"
	"slices"
	"sync"

	torch "rapt/cgo"
	"rapt/cgo/nn"
	"rapt/models"
	"rapt/trainer/limits"
)

// team is the sessions that train one model together. Each member has a locked OS thread, a shard of every batch and
// a graph of its own. Member 0 is the caller's and owns the weights. On the CPU the weights are shared storage; a GPU has one member, and
// where there are several GPUs each has its own copy, which is brought up to date whenever the team sets to work.
type team struct {
	members []*member
	apart   bool             // each member has a device of its own
	sent    parcel           // on member 0's device: what goes to the others where they are apart
	others  [][]torch.Tensor // member 0's handles of the other members' gradients, by member
	mine    []torch.Tensor   // member 0's batch-norm statistics
	buffers [][]torch.Tensor // member 0's handles of the other members' statistics
}

// member is one session of a team. Its fields are used on its own goroutine only, or while that one waits.
type member struct {
	id     int
	s      *torch.Session
	model  *models.Model
	params []torch.Tensor
	grads  []torch.Tensor // of the last batch's shard; kept for the session's life
	gen    *torch.Generator
	sums   torch.Tensor       // float64 [2]: loss and right answers since they were last read
	sets   map[*images]images // data sets by member 0's handle of them
	coming *ahead             // the next batch, of a set that streams
	of     int                // members in the team
	noise  torch.Tensor       // free's: member 0's, and the others' handles of it, or their copies
	own    *exchange          // with member 0; nil where the weights are shared, and for member 0 itself

	recorder   *recorder    // of the present stage; nil where its steps are not recorded
	unrecorded error        // why a step could not be, until the caller is told
	order      []int64      // the present epoch's, on a GPU
	uploaded   torch.Tensor // order, on the device

	work chan func(*member) error
	done chan error
}

// gather runs f with a team: n workers on the CPU, or one on each GPU. build makes the model in member 0's session.
func gather(devices []torch.Device, n int, build func(*torch.Session) (*models.Model, error), f func(*team) error) error {
	if len(devices) > 1 || devices[0].IsCUDA() {
		n = len(devices)
	}
	// Go takes the processor away from a goroutine that stays in C for 20 us, unless another is idle: so have some to spare.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), 2*n+2))
	options := torch.Options{Threads: 1, Keep: limits.Memory(os.DirFS("/")) / 8 / int64(max(1, n))}
	if devices[0].IsCUDA() {
		options.Threads = 0
	}
	return torch.Run(devices[0], options, func(s *torch.Session) error {
		model, err := build(s)
		if err != nil {
			return err
		}
		t := &team{members: []*member{newMember(0, s, model)}, apart: len(devices) > 1}
		defer t.members[0].drop()
		var running sync.WaitGroup
		defer func() {
			for _, m := range t.members[1:] {
				close(m.work)
			}
			running.Wait()
		}()
		for id := 1; id < n; id++ {
			if err := t.join(id, devices[id%len(devices)], options, &running); err != nil {
				return err
			}
		}
		for _, m := range t.members {
			m.of = n
		}
		t.meet()
		if s.Err() != nil {
			return s.Err()
		}
		return f(t)
	})
}

// devices are the team's: one, or each member's where they are apart.
func (t *team) devices() []torch.Device {
	out := []torch.Device{t.members[0].s.Device()}
	if t.apart {
		for _, m := range t.members[1:] {
			out = append(out, m.s.Device())
		}
	}
	return out
}

func newMember(id int, s *torch.Session, model *models.Model) *member {
	m := &member{id: id, s: s, model: model, params: nn.Parameters(model.State), gen: s.NewGenerator(0), sets: map[*images]images{}}
	for _, p := range m.params {
		m.grads = append(m.grads, p.ZerosLike())
	}
	m.sums = s.Full(0, torch.Float64, 2)
	s.Keep(m.grads...)
	s.Keep(m.sums)
	return m
}

// join starts member id on a goroutine of its own and waits until it is ready.
func (t *team) join(id int, dev torch.Device, options torch.Options, running *sync.WaitGroup) error {
	ready := make(chan error, 1)
	lead := t.members[0]
	running.Add(1)
	go func() {
		defer running.Done()
		err := run(dev, options, func(s *torch.Session) error {
			replica := (*models.Model).Replica
			if t.apart {
				replica = (*models.Model).Twin
			}
			model, err := replica(lead.model, s)
			if err != nil {
				return err
			}
			m := newMember(id, s, model)
			if t.apart {
				m.exchanges()
			}
			m.work, m.done = make(chan func(*member) error), make(chan error)
			t.members = append(t.members, m)
			ready <- s.Err()
			defer m.drop()
			for f := range m.work {
				m.done <- m.run(f)
			}
			return nil
		})
		select {
		case ready <- err: // it failed before it was ready
		default:
		}
	}()
	return <-ready
}

// run is torch.Run with a panic as an error: on a goroutine of its own it would end the process.
func run(dev torch.Device, options torch.Options, f func(*torch.Session) error) error {
	return caught(func() error { return torch.Run(dev, options, f) })
}

// caught is f with a panic as an error.
func caught(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = faultf("%v", p)
		}
	}()
	return f()
}

// meet gives member 0 handles of what the others compute.
func (t *team) meet() {
	lead := t.members[0]
	t.mine = statistics(lead.model)
	if t.apart {
		t.sent = newParcel(lead.s, slices.Concat(lead.params, t.mine))
	}
	for _, m := range t.members[1:] {
		if t.apart {
			t.reach(m)
			continue
		}
		var grads, buffers []torch.Tensor
		for _, g := range m.grads {
			grads = append(grads, lead.s.Borrow(g))
		}
		for _, b := range statistics(m.model) {
			buffers = append(buffers, lead.s.Borrow(b))
		}
		lead.s.Keep(grads...)
		lead.s.Keep(buffers...)
		t.others = append(t.others, grads)
		t.buffers = append(t.buffers, buffers)
	}
}

// statistics are a model's running means and variances.
func statistics(m *models.Model) []torch.Tensor {
	var out []torch.Tensor
	for _, b := range nn.Buffers(m.State) {
		if b.DType() == torch.Float32 {
			out = append(out, b)
		}
	}
	return out
}

// run does f in a scope of its own. A panic becomes an error, so that the team can end in order.
func (m *member) run(f func(*member) error) error {
	return caught(func() (err error) {
		m.s.Do(func() { err = f(m) })
		if err != nil {
			return err
		}
		return m.s.Err()
	})
}

// each runs f on every member at once and waits for all; the error is that of the first member that has one. All begin from member 0's weights
// and statistics: what the others' have become is lost unless reduce came before.
func (t *team) each(f func(*member) error) error { return t.all(f, false) }

// further is each in the middle of a step: all take member 0's weights, and go on from their own statistics.
func (t *team) further(f func(*member) error) error { return t.all(f, true) }

func (t *team) all(f func(*member) error, weights bool) error {
	t.send()
	for _, m := range t.members[1:] {
		m.work <- m.own.around(f, weights)
	}
	err := t.members[0].run(f)
	for _, m := range t.members[1:] {
		if e := <-m.done; err == nil {
			err = e
		}
	}
	return err
}

// reduce adds the others' gradients to member 0's, in the members' order, and averages batch-norm statistics over the
// members. Every member waits meanwhile.
func (t *team) reduce() {
	lead := t.members[0]
	t.sumGradients()
	if len(t.mine) == 0 || len(t.buffers) == 0 {
		return
	}
	for _, theirs := range t.buffers {
		lead.s.AddLists_(t.mine, theirs, 1)
	}
	lead.s.ScaleList_(t.mine, 1/float64(len(t.members)))
	t.spread()
}

// sumGradients adds the others' gradients to member 0's, in the members' order.
func (t *team) sumGradients() {
	lead := t.members[0]
	t.collect()
	for _, grads := range t.others {
		lead.s.AddLists_(lead.grads, grads, 1)
	}
}

// spread copies member 0's batch-norm statistics to the others: after reduce, and after a model was loaded. Where the members are apart, send
// does.
func (t *team) spread() {
	if t.apart {
		return
	}
	lead := t.members[0]
	for _, theirs := range t.buffers {
		lead.s.CopyLists_(theirs, t.mine)
	}
}

// totals reads and clears the members' sums.
func (t *team) totals() (loss, right float64, err error) {
	for _, m := range t.members {
		e := onOwn(m, func() error {
			v, err := m.sums.Float64s()
			if err != nil {
				return err
			}
			loss, right = loss+v[0], right+v[1]
			m.sums.Fill_(0)
			return m.s.Err()
		})
		if e != nil {
			return 0, 0, e
		}
	}
	return loss, right, nil
}

// onOwn runs f on the member's own goroutine.
func onOwn(m *member, f func() error) error {
	if m.work == nil {
		return f()
	}
	m.work <- func(*member) error { return f() }
	return <-m.done
}
