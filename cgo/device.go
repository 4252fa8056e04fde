package torch

// #include <stdlib.h>
// #include "cgotorch.h"
import "C"

import (
	"fmt"
	"strconv"
	"strings"
	"unsafe"
)

// Device is where a session's tensors live.
type Device struct {
	cuda  bool
	index int
}

// CPU is the host's memory and processor.
var CPU = Device{}

// CUDA is GPU number i, counted as CUDA_VISIBLE_DEVICES leaves them.
func CUDA(i int) Device { return Device{cuda: true, index: i} }

// NewDevice reads "cpu", "cuda" (the first GPU) or "cuda:N".
func NewDevice(name string) (Device, error) {
	switch {
	case name == "cpu":
		return CPU, nil
	case name == "cuda":
		return CUDA(0), nil
	case strings.HasPrefix(name, "cuda:"):
		if i, err := strconv.Atoi(name[len("cuda:"):]); err == nil && i >= 0 {
			return CUDA(i), nil
		}
	}
	return CPU, fmt.Errorf("unknown device %q: want cpu, cuda or cuda:N", name)
}

// IsCUDA reports whether the device is a GPU.
func (d Device) IsCUDA() bool { return d.cuda }

// Index is the GPU's number, 0 for the CPU.
func (d Device) Index() int { return d.index }

func (d Device) String() string {
	if d.cuda {
		return fmt.Sprintf("cuda:%d", d.index)
	}
	return "cpu"
}

func (d Device) c() (kind, index C.int) {
	if d.cuda {
		return C.CT_CUDA, C.int(d.index)
	}
	return C.CT_CPU, 0
}

// Version is libtorch's, for example "2.6.0".
func Version() string { return C.GoString(C.ct_torch_version()) }

// BuiltWithCUDA reports whether the shim's libtorch has CUDA compiled in, usable here or not.
func BuiltWithCUDA() bool { return C.ct_built_with_cuda() != 0 }

// BuildInfo is libtorch's own account of how it was built, and whether OpenBLAS is loaded.
func BuildInfo() string {
	var out *C.char
	if err := failure("BuildInfo", C.ct_build_info(&out)); err != nil {
		return err.Error()
	}
	defer C.ct_free_string(out)
	return C.GoString(out)
}

// DistrustsOneDNN reports whether the first session saw libtorch's oneDNN compute wrong gradients, so that convolutions on the CPU go
// without it, which is slower.
func DistrustsOneDNN() bool { return C.ct_onednn_distrusted() != 0 }

// CUDADeviceCount is the number of GPUs that libtorch can use here; 0 without CUDA or a driver.
func CUDADeviceCount() int {
	var n C.int
	if failure("CUDADeviceCount", C.ct_cuda_device_count(&n)) != nil {
		return 0
	}
	return int(n)
}

// CUDADeviceName is the product name of GPU i.
func CUDADeviceName(i int) (string, error) {
	var out *C.char
	if err := failure("CUDADeviceName", C.ct_cuda_device_name(C.int(i), &out)); err != nil {
		return "", err
	}
	defer C.ct_free_string(out)
	return C.GoString(out), nil
}

// Process-wide switches: set them before the first session starts.

// SetDeterministic makes libtorch refuse operations that have no deterministic form.
func SetDeterministic(on bool) error {
	return failure("SetDeterministic", C.ct_set_deterministic(flag(on)))
}

// SetTF32 lets CUDA round float32 matrix products and convolutions to TF32.
func SetTF32(on bool) error { return failure("SetTF32", C.ct_set_tf32(flag(on))) }

// SetCuDNN says how cuDNN chooses its convolutions: search lets it time them and keep the fastest, deterministic leaves out those whose
// results differ from call to call.
func SetCuDNN(search, deterministic bool) error {
	return failure("SetCuDNN", C.ct_set_cudnn(flag(search), flag(deterministic)))
}

// SetKernels says which kernels of rapt's own the CPU uses for thin convolutions, 2x2 max-pooling and the attack's step: "best", as it
// is at first, "avx512", "avx2" or "base" where the processor has them, or "off" for libtorch's.
func SetKernels(name string) error {
	c := C.CString(name)
	defer C.free(unsafe.Pointer(c))
	return failure("SetKernels", C.ct_set_kernels(c))
}

func flag(on bool) C.int {
	if on {
		return 1
	}
	return 0
}

// Memory is what libtorch's caching allocator holds on one GPU, in bytes.
type Memory struct {
	Allocated, AllocatedPeak int64 // in live tensors
	Reserved, ReservedPeak   int64 // taken from the driver
	Retries, OutOfMemory     int64 // counts
}

// CUDAMemory reads the allocator's statistics for the session's GPU.
func (s *Session) CUDAMemory() (Memory, error) {
	var m C.ct_memory
	if err := failure("CUDAMemory", C.ct_cuda_memory(C.int(s.device.index), &m)); err != nil {
		return Memory{}, err
	}
	return Memory{int64(m.allocated), int64(m.allocated_peak), int64(m.reserved), int64(m.reserved_peak),
		int64(m.retries), int64(m.ooms)}, nil
}

// ResetCUDAPeak starts the peaks of CUDAMemory anew.
func (s *Session) ResetCUDAPeak() error {
	return failure("ResetCUDAPeak", C.ct_cuda_reset_peak(C.int(s.device.index)))
}

// EmptyCUDACache gives unused blocks back to the driver. It synchronises: between phases only.
func EmptyCUDACache() error { return failure("EmptyCUDACache", C.ct_cuda_empty_cache()) }
