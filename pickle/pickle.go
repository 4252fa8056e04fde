// Package pickle reads Python pickles as data. Nothing in a pickle is ever executed: a class or function that it names is refused
// unless the caller allowed that name and says what stands for it. It is pure Go and knows nothing of the rest of rapt.
//
// The opcodes are those of Python's Lib/pickletools.py, protocols 0 to 5, without extension codes and out-of-band buffers.
package pickle

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// Options say what a pickle may hold and how large it may be. A limit of 0 stands for its default.
type Options struct {
	// Allow maps "module.name" to what makes a value of it from the arguments. A nil function allows the name alone, as a *Global.
	// A value that has a method Build(state any) error also takes the state that some pickles set after making it.
	Allow map[string]func(args Tuple) (any, error)
	// PersistentLoad finds what a persistent id stands for, such as a tensor's storage. Without it such ids are refused.
	PersistentLoad func(id any) (any, error)

	MaxBytes int64 // of the pickle; 256 MiB by default
	MaxItems int   // values and marks put on the stack, and entries of containers; 1,000,000 by default
	MaxDepth int   // containers within containers; 100 by default
}

func (o Options) withDefaults() Options {
	if o.MaxBytes == 0 {
		o.MaxBytes = 256 << 20
	}
	if o.MaxItems == 0 {
		o.MaxItems = 1_000_000
	}
	if o.MaxDepth == 0 {
		o.MaxDepth = 100
	}
	return o
}

// Load reads one pickle. It returns nil, bool, int64, *big.Int (where int64 is too small), float64, string, Bytes, *List, Tuple,
// *Dict, *Set, *Global, or what Options made. Values may be shared but never contain themselves, and are at most MaxDepth deep.
// The str of Python 2 comes as Bytes; Text takes both.
//
// Given a *bufio.Reader it reads nothing beyond the pickle's end. An error says what is wrong and at which byte; memory stays
// within a constant times the bytes that are really there.
func Load(r io.Reader, o Options) (any, error) {
	m := &machine{in: bufio.NewReader(r), o: o.withDefaults(), memo: map[int64]any{}}
	for {
		start := m.read
		op, err := m.byte()
		if err == nil {
			err = m.step(op)
		}
		switch {
		case err == errStop:
			return m.result()
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil, fmt.Errorf("the pickle ends early, at byte %d", m.read)
		case err != nil:
			return nil, fmt.Errorf("byte %d of the pickle: %w", start, err)
		}
	}
}

// errStop ends the loop; it never leaves Load.
var errStop = errors.New("stop")

// machine is the stack machine that a pickle is a program for.
type machine struct {
	in    *bufio.Reader
	o     Options
	read  int64 // bytes so far
	items int   // of MaxItems
	stack []any
	marks []int // heights of the stack
	memo  map[int64]any
}

// result is the one value left at the end.
func (m *machine) result() (any, error) {
	if len(m.stack) != 1 || len(m.marks) != 0 {
		return nil, fmt.Errorf("the pickle ends with %d values on its stack, and exactly one is due", len(m.stack))
	}
	if _, err := checkDepth(m.stack[0], m.o.MaxDepth); err != nil {
		return nil, err
	}
	return m.stack[0], nil
}

// spend counts n items against the limit.
func (m *machine) spend(n int) error {
	if m.items += n; m.items > m.o.MaxItems {
		return fmt.Errorf("it holds more than %d values, the limit here", m.o.MaxItems)
	}
	return nil
}

func (m *machine) push(v any) error {
	m.stack = append(m.stack, v)
	return m.spend(1)
}

// floor is the lowest index of the stack that may be popped: nothing reaches through a mark.
func (m *machine) floor() int {
	if n := len(m.marks); n > 0 {
		return m.marks[n-1]
	}
	return 0
}

// pop takes the n topmost values, lowest first. The slice holds only until the next push.
func (m *machine) pop(n int) ([]any, error) {
	at := len(m.stack) - n
	if at < m.floor() {
		return nil, errors.New("it takes a value from an empty stack")
	}
	v := m.stack[at:]
	m.stack = m.stack[:at]
	return v, nil
}

// top is the topmost value, which stays.
func (m *machine) top() (any, error) {
	if len(m.stack) <= m.floor() {
		return nil, errors.New("it takes a value from an empty stack")
	}
	return m.stack[len(m.stack)-1], nil
}

func (m *machine) mark() error {
	m.marks = append(m.marks, len(m.stack))
	return m.spend(1)
}

// popMark takes what was pushed since the last mark, as a copy.
func (m *machine) popMark() ([]any, error) {
	n := len(m.marks)
	if n == 0 {
		return nil, errors.New("it looks for a mark that is not there")
	}
	at := m.marks[n-1]
	v := append([]any(nil), m.stack[at:]...)
	m.stack, m.marks = m.stack[:at], m.marks[:n-1]
	return v, nil
}

// put remembers the topmost value. The memo is a map, so that a large index costs no more than a small one.
func (m *machine) put(i int64) error {
	v, err := m.top()
	if err != nil {
		return err
	}
	if i < 0 {
		return fmt.Errorf("the memo index %d is negative", i)
	}
	m.memo[i] = v
	return m.spend(1)
}

func (m *machine) get(i int64) error {
	v, ok := m.memo[i]
	if !ok {
		return fmt.Errorf("it asks for entry %d of its memo, which it never filled", i)
	}
	return m.push(v)
}
