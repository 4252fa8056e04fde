package torch

// #include "cgotorch.h"
import "C"

import (
	"errors"
	"fmt"
)

var (
	// ErrClosed reports a tensor that is absent, was freed with its scope, or belongs to another session.
	ErrClosed = errors.New("the tensor is absent, was freed with its scope, or belongs to another session")
	// ErrOutOfMemory reports that the device, or the host, has no memory left for an operation.
	ErrOutOfMemory = errors.New("out of memory")
)

var errEnded = fmt.Errorf("torch: the session has ended: %w", ErrClosed)

// Error is what libtorch said about one operation.
type Error struct {
	Op  string // the operation, named as in Go
	Msg string // libtorch's message, without its C++ stack
	oom bool
}

func (e *Error) Error() string { return "torch: " + e.Op + ": " + e.Msg }

// Unwrap lets errors.Is find ErrOutOfMemory.
func (e *Error) Unwrap() error {
	if e.oom {
		return ErrOutOfMemory
	}
	return nil
}

// failure turns the shim's message into an error and frees it; nil for no message.
func failure(op string, c *C.char) error {
	if c == nil {
		return nil
	}
	defer C.ct_free_string(c)
	msg := C.GoString(c)
	return &Error{Op: op, Msg: msg[1:], oom: msg[0] == 'M'}
}

// kept is what the calling thread keeps of freed host memory, in bytes, for the tests.
func kept() int64 { return int64(C.ct_kept_memory()) }

// throw makes the shim throw, for the tests: 0 std::runtime_error, 1 c10::Error, 2 an int, 3 std::bad_alloc, 5 what cuBLAS says without
// memory, 6 what libtorch says where cuDNN found no engine; 4 warns.
func throw(kind int) error { return failure("throw", C.ct_throw(C.int(kind))) }
