package torch

// #include "cgotorch.h"
import "C"

import "unsafe"

// Staging is a block of n bytes of host memory as a uint8 tensor [n], and the bytes themselves, which are valid as long as the tensor.
// Where the session's device is a GPU the memory is pinned: the GPU reads it while the host goes on.
func (s *Session) Staging(n int64) (block Tensor, data []byte) {
	const op = "Staging"
	if !s.still(op) {
		return Tensor{}, nil
	}
	var at unsafe.Pointer
	e := C.ct_staging(C.int64_t(n), flag(s.device.cuda), &s.out, &at)
	if block = s.take(op, e); block == (Tensor{}) || n == 0 {
		return block, nil
	}
	return block, unsafe.Slice((*byte)(at), n)
}

// Upload is a block of Staging, as elements of type d in the given shape, on the session's device, without waiting for the copy; on the
// CPU it is the block itself. The block may be freed at once.
func (t Tensor) Upload(d DType, shape ...int64) Tensor {
	s, p, ok := t.use("Upload")
	if !ok {
		return Tensor{}
	}
	kind, index := s.device.c()
	return s.take("Upload", C.ct_upload(p, C.int(d), cShape(shape), C.int64_t(len(shape)), kind, index, &s.out))
}

// CUDARoom is the free and the whole memory of GPU i, in bytes.
func CUDARoom(i int) (free, total int64, err error) {
	var f, all C.int64_t
	err = failure("CUDARoom", C.ct_cuda_room(C.int(i), &f, &all))
	return int64(f), int64(all), err
}
