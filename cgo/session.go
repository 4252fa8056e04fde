package torch

// #include "cgotorch.h"
import "C"

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
	"unsafe"
)

// Options of a session.
type Options struct {
	Threads    int   // of libtorch's own kernels on the CPU; 0 leaves its default
	Keep       int64 // bytes of freed host memory that the session may keep to use again; 0 is a sixteenth of the machine's
	ShapesOnly bool  // package nn's layers are for their shapes alone: their tensors take no memory, and must not be written to
}

// Session owns what one goroutine does with libtorch: its OS thread, its device and stream, the open scopes,
// every live tensor and generator, and the first error. It must not leave its goroutine.
type Session struct {
	device    Device
	slots     []slot
	free      []uint32      // slots to use again
	scope     []uint32      // live slots of the open scopes, oldest first
	marks     []int         // where each open scope starts in scope
	buf       []C.ct_tensor // scratch for lists that go to C
	buf2      []C.ct_tensor
	out       C.ct_tensor // where operations in C leave their result
	gens      []*Generator
	constants map[string]Tensor // of Constant, by the bytes of their values
	graphs    []*Graph
	err       error
	live      int
	capturing bool
	shapes    bool
	tape      *[]Step // nil while no operations are noted
	thread    C.ct_session
	yielded   time.Time // when yield last did
}

type slot struct {
	p   C.ct_tensor
	gen uint32
}

func init() {
	if got := int(C.ct_abi()); got != C.CT_ABI {
		fmt.Fprintf(os.Stderr, "libcgotorch.so speaks version %d of the border, this program %d: build both again with ./build.sh\n", got, C.CT_ABI)
		os.Exit(1)
	}
}

// Run gives f a session on device d, on a locked OS thread, and frees all that f leaves.
// It returns f's error, or the session's first one.
func Run(d Device, o Options, f func(*Session) error) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s := &Session{device: d, shapes: o.ShapesOnly}
	kind, index := d.c()
	s.thread = C.ct_session{device_type: kind, device_index: index, threads: C.int(o.Threads), keep: C.int64_t(o.Keep)}
	if err := failure("Run", C.ct_session_begin(&s.thread)); err != nil {
		return err
	}
	defer func() {
		s.closeAll()
		if end := failure("Run", C.ct_session_end(&s.thread)); end != nil {
			err = errors.Join(err, end)
		}
		s.Fail(errEnded)
	}()
	if err := f(s); err != nil {
		return err
	}
	return s.err
}

// Device is where the session's tensors are made.
func (s *Session) Device() Device { return s.device }

// ShapesOnly tells whether the session's layers are for their shapes alone.
func (s *Session) ShapesOnly() bool { return s.shapes }

// Sketch runs f, where the session's layers are made for their shapes alone.
func (s *Session) Sketch(f func()) {
	defer func(before bool) { s.shapes = before }(s.shapes)
	s.shapes = true
	f()
}

// Err is the first error since the session began.
func (s *Session) Err() error { return s.err }

// Fail records err as the session's error unless there is one already.
func (s *Session) Fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// Live is the number of tensors the session holds.
func (s *Session) Live() int { return s.live }

// LiveTensors is the number of tensor handles held by the whole process.
func LiveTensors() int64 { return int64(C.ct_live_tensors()) }

// Synchronize waits until the device has done all that the session asked for.
func (s *Session) Synchronize() error {
	if s.still("Synchronize") {
		s.err = failure("Synchronize", C.ct_synchronize(&s.thread))
	}
	return s.err
}

// Warnings returns what libtorch warned of on this session's thread since the last call.
func (s *Session) Warnings() []string {
	var out *C.char
	if failure("Warnings", C.ct_drain_warnings(&out)) != nil || out == nil {
		return nil
	}
	defer C.ct_free_string(out)
	return strings.Split(strings.TrimRight(C.GoString(out), "\n"), "\n")
}

// NumThreads is the number of threads that libtorch's kernels use when called from this session.
func (s *Session) NumThreads() int { return int(C.ct_num_threads()) }

// NoGrad runs f without recording a graph.
func (s *Session) NoGrad(f func()) {
	old := C.ct_grad_enabled()
	C.ct_set_grad_enabled(0)
	defer C.ct_set_grad_enabled(old)
	f()
}

// Do frees every tensor made in f when f returns.
func (s *Session) Do(f func()) { s.ScopeN(func() []Tensor { f(); return nil }) }

// Scope frees every tensor made in f but the one it returns, which moves to the scope outside.
func (s *Session) Scope(f func() Tensor) Tensor {
	var keep [1]Tensor
	s.ScopeN(func() []Tensor { keep[0] = f(); return keep[:] })
	return keep[0]
}

// ScopeN frees every tensor made in f but those it returns, which move to the scope outside.
func (s *Session) ScopeN(f func() []Tensor) []Tensor {
	s.yield()
	s.marks = append(s.marks, len(s.scope))
	var keep []Tensor
	defer func() { s.pop(keep) }() // also when f panics
	keep = f()
	return keep
}

// yield lets go of the processor for a moment, now and then. Go's monitor takes it away from a goroutine that has had it for 10 ms,
// and then looks 50 times in a row, every 20 us, whether it should do so again: on virtual machines that is a twentieth of a core.
func (s *Session) yield() {
	if now := time.Now(); now.Sub(s.yielded) > 8*time.Millisecond {
		runtime.Gosched()
		s.yielded = now
	}
}

// Keep moves tensors to the session itself: they live until Free or the end of Run.
func (s *Session) Keep(ts ...Tensor) {
	for _, t := range ts {
		if _, ok := s.ptr("Keep", t); !ok {
			return
		}
		for i, slot := range s.scope {
			if slot == t.idx {
				s.scope = append(s.scope[:i], s.scope[i+1:]...)
				for m := range s.marks {
					if s.marks[m] > i {
						s.marks[m]--
					}
				}
				break
			}
		}
	}
}

// Free frees tensors now. Freed or absent ones are passed over.
func (s *Session) Free(ts ...Tensor) {
	s.buf = s.buf[:0]
	for _, t := range ts {
		if t.s == s && int(t.idx) < len(s.slots) && s.slots[t.idx].gen == t.gen {
			for i := len(s.scope) - 1; i >= 0; i-- {
				if s.scope[i] == t.idx {
					s.scope[i] = none
					break
				}
			}
			s.drop(t.idx)
		}
	}
	for n := len(s.scope); n > s.mark() && s.scope[n-1] == none; n-- {
		s.scope = s.scope[:n-1]
	}
	s.flush()
}

// mark is where the innermost scope starts.
func (s *Session) mark() int {
	if n := len(s.marks); n > 0 {
		return s.marks[n-1]
	}
	return 0
}

const none = ^uint32(0) // an entry of scope whose tensor was freed early

func (s *Session) pop(keep []Tensor) {
	m := s.marks[len(s.marks)-1]
	s.marks = s.marks[:len(s.marks)-1]
	s.buf = s.buf[:0]
	mine := s.scope[m:]
	kept := mine[:0]
	for _, i := range mine {
		switch {
		case i == none:
		case s.holds(keep, i):
			kept = append(kept, i)
		default:
			s.drop(i)
		}
	}
	s.scope = s.scope[:m+len(kept)]
	s.flush()
}

func (s *Session) holds(keep []Tensor, i uint32) bool {
	for _, t := range keep {
		if t.s == s && t.idx == i && t.gen == s.slots[i].gen {
			return true
		}
	}
	return false
}

func (s *Session) drop(i uint32) {
	if p := s.slots[i].p; p != nil {
		s.buf = append(s.buf, p)
		s.slots[i].p = nil
		s.slots[i].gen++
		s.free = append(s.free, i)
		s.live--
	}
}

func (s *Session) flush() {
	if len(s.buf) > 0 {
		C.ct_close(unsafe.SliceData(s.buf), C.int64_t(len(s.buf)))
		s.buf = s.buf[:0]
	}
}

func (s *Session) closeAll() {
	for len(s.graphs) > 0 {
		s.graphs[0].Close()
	}
	s.buf = s.buf[:0]
	for i := range s.slots {
		s.drop(uint32(i))
	}
	s.flush()
	for _, g := range s.gens {
		g.close()
	}
	s.gens = nil
}

// ptr checks a handle; ok is false when the operation must not run.
func (s *Session) ptr(op string, t Tensor) (C.ct_tensor, bool) {
	if s.err != nil {
		return nil, false
	}
	if t.s != s || s.slots[t.idx].gen != t.gen {
		s.err = fmt.Errorf("torch: %s: %w", op, ErrClosed)
		return nil, false
	}
	return s.slots[t.idx].p, true
}

// take records the result that C left in s.out, or the error.
func (s *Session) take(op string, e *C.char) Tensor {
	if e != nil {
		s.Fail(failure(op, e))
		return Tensor{}
	}
	return s.record(s.out)
}

// record makes p a tensor of the innermost scope.
func (s *Session) record(p C.ct_tensor) Tensor {
	var i uint32
	if n := len(s.free); n > 0 {
		i = s.free[n-1]
		s.free = s.free[:n-1]
	} else {
		i = uint32(len(s.slots))
		s.slots = append(s.slots, slot{gen: 1})
	}
	s.slots[i].p = p
	s.live++
	s.scope = append(s.scope, i)
	return Tensor{s, i, s.slots[i].gen}
}

// list checks handles into a scratch array; ok is false when the operation must not run.
func (s *Session) list(op string, buf *[]C.ct_tensor, ts []Tensor) (*C.ct_tensor, bool) {
	*buf = (*buf)[:0]
	for _, t := range ts {
		p, ok := s.ptr(op, t)
		if !ok {
			return nil, false
		}
		*buf = append(*buf, p)
	}
	return unsafe.SliceData(*buf), true
}
