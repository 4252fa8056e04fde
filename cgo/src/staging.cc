// Host memory that a device reads by itself while the host goes on, and how much room a device has.
#include "shim.h"
#ifdef CGOTORCH_CUDA
#include <cuda_runtime_api.h>
#endif

using namespace ct;

CT_API char *ct_staging(int64_t bytes, int pinned, ct_tensor *out, void **data) {
  return give(out, [&] {
    // Pinned blocks come from libtorch's cache, which gives one out again only when the copies from it are done.
    auto t = at::empty({bytes}, at::TensorOptions().dtype(at::kByte).pinned_memory(pinned != 0));
    *data = t.data_ptr();
    return t;
  });
}
CT_API char *ct_upload(ct_tensor t, int dtype, const int64_t *shape, int64_t n, int dev, int index, ct_tensor *out) {
  return give(out, [&] { return T(t).view(scalar_type(dtype)).view(dims(shape, n)).to(device(dev, index), /*non_blocking=*/true); });
}
CT_API char *ct_cuda_room(int index, int64_t *free_bytes, int64_t *total) {
  return guard([&] {
    (void)device(CT_CUDA, index);
    (void)free_bytes;
    (void)total;
#ifdef CGOTORCH_CUDA
    int before = 0;
    size_t f = 0, all = 0;
    TORCH_CHECK(cudaGetDevice(&before) == cudaSuccess && cudaSetDevice(index) == cudaSuccess, "no CUDA device ", index);
    const auto e = cudaMemGetInfo(&f, &all);
    (void)cudaSetDevice(before);
    TORCH_CHECK(e == cudaSuccess, "CUDA device ", index, " does not tell its free memory: ", cudaGetErrorString(e));
    *free_bytes = static_cast<int64_t>(f);
    *total = static_cast<int64_t>(all);
#endif
  });
}
