package torch

// #include <stdlib.h>
// #include "cgotorch.h"
import "C"

import (
	"slices"
	"unsafe"
)

// Named is a tensor under its name in PyTorch's state dict, for example layer1.0.bn1.running_mean.
type Named struct {
	Name   string
	Tensor Tensor
	Buffer bool // not trained
}

// Script is a file that torch.jit.load reads: a module on the CPU with these tensors and the methods that source defines in TorchScript, such as
// "def forward(self, x: Tensor) -> Tensor:\n  return torch.relu(x)\n". The metadata lie in it as the extra file metadata.json.
func (s *Session) Script(source string, state []Named, metadata string) ([]byte, error) {
	n := len(state)
	names := unsafe.Slice((**C.char)(C.calloc(C.size_t(n+1), C.size_t(unsafe.Sizeof((*C.char)(nil))))), n+1)
	defer func() {
		for _, name := range names {
			C.free(unsafe.Pointer(name))
		}
		C.free(unsafe.Pointer(unsafe.SliceData(names)))
	}()
	tensors, buffers := make([]Tensor, n), make([]C.int, n+1)
	for i, e := range state {
		names[i], tensors[i] = C.CString(e.Name), e.Tensor
		if e.Buffer {
			buffers[i] = 1
		}
	}
	list, ok := s.list("Script", &s.buf, tensors)
	if !ok {
		return nil, s.err
	}
	text, meta := C.CString(source), C.CString(metadata)
	defer C.free(unsafe.Pointer(text))
	defer C.free(unsafe.Pointer(meta))
	var out *C.char
	var size C.int64_t
	if err := failure("Script", C.ct_script(text, unsafe.SliceData(names), list, unsafe.SliceData(buffers), C.int64_t(n), meta, &out, &size)); err != nil {
		return nil, err
	}
	defer C.ct_free_string(out)
	return slices.Clone(unsafe.Slice((*byte)(unsafe.Pointer(out)), size)), nil // C.GoBytes ends at 2 GiB
}

// RunScript is what the module in a file of Script makes of x, on the CPU.
func (s *Session) RunScript(file []byte, x Tensor) Tensor {
	s, p, ok := x.use("RunScript")
	if !ok {
		return Tensor{}
	}
	return s.take("RunScript", C.ct_script_run(unsafe.Pointer(unsafe.SliceData(file)), C.int64_t(len(file)), p, &s.out))
}
