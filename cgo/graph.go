package torch

// #include "cgotorch.h"
import "C"

import (
	"errors"
	"fmt"
)

// Graph is work of a session on its GPU, recorded once. Replay does it again with one launch, on the tensors that were there
// when it was recorded: those made in it live until Close, and hold what the last Replay left in them.
type Graph struct {
	s    *Session
	g    C.ct_graph
	held []Tensor // made while recording
}

// CUDAGraphs is nil where sessions on a GPU can capture, else an error that says why they cannot.
func CUDAGraphs() error { return failure("Capture", C.ct_graph_check()) }

// Capture records what f asks of the GPU; nothing is done until Replay. The caller has run f a few times before, so that
// all is in place which libtorch sets up once; shapes and addresses are frozen as f finds them. Nothing in f may wait for the
// GPU, read from the host or draw random numbers: such operations are refused. After an error nothing is recorded, and the
// session goes on as if f had not been called, unless the GPU itself was lost; then that is the session's error too.
func (s *Session) Capture(f func()) (g *Graph, err error) {
	if s.err != nil {
		return nil, s.err
	}
	if s.capturing {
		return nil, errors.New("torch: Capture: inside another one")
	}
	if err := CUDAGraphs(); err != nil {
		return nil, err
	}
	if !s.device.cuda {
		return nil, fmt.Errorf("torch: Capture: a session on a GPU is needed, this one is on the %v", s.device)
	}
	g = &Graph{s: s}
	if err := failure("Capture", C.ct_graph_begin(&g.g)); err != nil {
		return nil, s.abandoned(err)
	}
	s.capturing = true
	s.marks = append(s.marks, len(s.scope))
	done := false
	defer func() { // also when f panics
		s.capturing = false
		end := failure("Capture", C.ct_graph_end(g.g))
		if err = s.err; err == nil {
			err = end
		}
		s.err = nil
		g.adopt()
		if err == nil && done {
			s.graphs = append(s.graphs, g)
			return
		}
		g.Close()
		g, err = nil, s.abandoned(err)
	}()
	f()
	done = true
	return g, nil
}

// abandoned sees whether the session's GPU still answers after a capture that failed.
func (s *Session) abandoned(err error) error {
	if lost := failure("Capture", C.ct_synchronize(&s.thread)); lost != nil {
		s.Fail(fmt.Errorf("the GPU is lost after a capture that failed (%v): %w", err, lost))
	}
	return err
}

// adopt takes the tensors of the innermost scope out of it and ends it.
func (g *Graph) adopt() {
	s := g.s
	m := s.marks[len(s.marks)-1]
	s.marks = s.marks[:len(s.marks)-1]
	for _, i := range s.scope[m:] {
		if i != none {
			g.held = append(g.held, Tensor{s, i, s.slots[i].gen})
		}
	}
	s.scope = s.scope[:m]
}

// still refuses what cannot be part of a recording, before it spoils it.
func (s *Session) still(op string) bool {
	if s.capturing {
		s.Fail(fmt.Errorf("torch: %s: not while a graph is captured", op))
	}
	return s.err == nil
}

// Replay does the recorded work on the tensors' present contents, without waiting for it.
func (g *Graph) Replay() {
	switch {
	case g.s.err != nil:
	case g.g == nil:
		g.s.Fail(fmt.Errorf("torch: Replay: %w", ErrClosed))
	default:
		g.s.Fail(failure("Replay", C.ct_graph_replay(g.g)))
	}
}

// Close frees the recording and the tensors made in it. A session's end closes what is left.
func (g *Graph) Close() {
	if g == nil || g.g == nil {
		return
	}
	C.ct_graph_close(g.g)
	g.g = nil
	g.s.Free(g.held...)
	for i, other := range g.s.graphs {
		if other == g {
			g.s.graphs = append(g.s.graphs[:i], g.s.graphs[i+1:]...)
			break
		}
	}
}
