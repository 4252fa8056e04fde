// Making, reading, converting and reshaping tensors.
#include "shim.h"

using namespace ct;

namespace ct {
std::atomic<int64_t> live{0};

namespace {
constexpr at::ScalarType kTypes[] = {at::kFloat, at::kDouble, at::kLong,     at::kInt,
                                     at::kByte,  at::kBool,   at::kBFloat16, at::kHalf};
}

at::ScalarType scalar_type(int dtype) {
  TORCH_CHECK(dtype >= 0 && dtype < static_cast<int>(std::size(kTypes)), "unknown dtype code ", dtype);
  return kTypes[dtype];
}
}  // namespace ct

namespace {
at::TensorOptions options(int dtype, int dev, int index) {
  return at::TensorOptions().dtype(scalar_type(dtype)).device(device(dev, index));
}
}  // namespace

CT_API int64_t ct_live_tensors(void) { return live.load(); }

CT_API void ct_close(const ct_tensor *t, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    if (t[i] == nullptr) continue;
    live.fetch_sub(1, std::memory_order_relaxed);
    ct_free_string(guard([&] { delete static_cast<at::Tensor *>(t[i]); }));
  }
}

CT_API char *ct_from_host(const void *data, int dtype, const int64_t *shape, int64_t n, int dev, int index, ct_tensor *out) {
  return give(out, [&] {
    const auto size = dims(shape, n);
    for (int64_t d : size) TORCH_CHECK(d >= 0, "negative size in shape ", size);
    const auto type = scalar_type(dtype);
    const auto where = device(dev, index);
    // A bool other than 0 and 1 is undefined in C++, so these come as bytes.
    auto host = at::from_blob(const_cast<void *>(data), size, at::TensorOptions().dtype(type == at::kBool ? at::kByte : type));
    return host.to(where, type, /*non_blocking=*/false, /*copy=*/true);
  });
}

CT_API char *ct_to_host(ct_tensor t, void *data, int64_t bytes) {
  return guard([&] {
    const auto &x = T(t);
    TORCH_CHECK(x.numel() * static_cast<int64_t>(x.element_size()) == bytes, "buffer of ", bytes, " bytes for a tensor of ",
                x.numel() * static_cast<int64_t>(x.element_size()));
    if (bytes == 0) return;
    auto host = at::from_blob(data, x.sizes(), at::TensorOptions().dtype(x.scalar_type()));
    host.copy_(x.detach());
  });
}

CT_API char *ct_full(double v, int dtype, const int64_t *shape, int64_t n, int dev, int index, ct_tensor *out) {
  return give(out, [&] { return at::full(dims(shape, n), v, options(dtype, dev, index)); });
}
CT_API char *ct_empty(int dtype, const int64_t *shape, int64_t n, int dev, int index, ct_tensor *out) {
  return give(out, [&] { return at::empty(dims(shape, n), options(dtype, dev, index)); });
}
CT_API char *ct_arange(int64_t n, int dev, int index, ct_tensor *out) {
  return give(out, [&] { return at::arange(n, options(CT_I64, dev, index)); });
}
CT_API char *ct_item(ct_tensor t, double *out) {
  return guard([&] { *out = T(t).item().to<double>(); });
}

CT_API int ct_dim(ct_tensor t) { return static_cast<int>(T(t).dim()); }
CT_API int64_t ct_numel(ct_tensor t) { return T(t).numel(); }
CT_API void ct_shape(ct_tensor t, int64_t *out) {
  for (int64_t d : T(t).sizes()) *out++ = d;
}
CT_API int ct_dtype(ct_tensor t) {
  for (size_t i = 0; i < std::size(kTypes); i++)
    if (T(t).scalar_type() == kTypes[i]) return static_cast<int>(i);
  return -1;
}
CT_API void ct_device(ct_tensor t, int *dev, int *index) {
  const auto d = T(t).device();
  *dev = d.is_cuda() ? CT_CUDA : CT_CPU;
  *index = d.is_cuda() ? d.index() : 0;
}
CT_API int ct_requires_grad(ct_tensor t) { return T(t).requires_grad(); }
CT_API int ct_is_contiguous(ct_tensor t) { return T(t).is_contiguous(); }

CT_API char *ct_to(ct_tensor t, int dtype, int dev, int index, ct_tensor *out) {
  return give(out, [&] {
    auto x = T(t);
    return x.to(dev < 0 ? x.device() : device(dev, index), dtype < 0 ? x.scalar_type() : scalar_type(dtype));
  });
}
CT_API char *ct_alias(ct_tensor t, ct_tensor *out) {
  return give(out, [&] { return T(t).detach(); });
}
CT_API char *ct_share(ct_tensor t, ct_tensor *out) {
  return give(out, [&] { return at::Tensor(T(t)); });
}
CT_API char *ct_clone(ct_tensor t, ct_tensor *out) {
  return give(out, [&] { return T(t).clone(); });
}
CT_API char *ct_contiguous(ct_tensor t, int channels_last, ct_tensor *out) {
  return give(out, [&] { return T(t).contiguous(channels_last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous); });
}
CT_API char *ct_requires_grad_(ct_tensor t, int on) {
  return guard([&] { T(t).requires_grad_(on != 0); });
}

CT_API char *ct_reshape(ct_tensor t, const int64_t *shape, int64_t n, ct_tensor *out) {
  return give(out, [&] { return T(t).reshape(dims(shape, n)); });
}
CT_API char *ct_flatten(ct_tensor t, ct_tensor *out) {
  return give(out, [&] { return T(t).flatten(1); });
}
CT_API char *ct_permute(ct_tensor t, const int64_t *d, int64_t n, ct_tensor *out) {
  return give(out, [&] { return T(t).permute(dims(d, n)); });
}
CT_API char *ct_expand(ct_tensor t, const int64_t *shape, int64_t n, ct_tensor *out) {
  return give(out, [&] { return T(t).expand(dims(shape, n)); });
}
CT_API char *ct_narrow(ct_tensor t, int64_t dim, int64_t start, int64_t len, ct_tensor *out) {
  return give(out, [&] { return T(t).narrow(dim, start, len); });
}
CT_API char *ct_cat(const ct_tensor *ts, int64_t n, int64_t dim, ct_tensor *out) {
  return give(out, [&] { return at::cat(list(ts, n), dim); });
}
CT_API char *ct_index_select(ct_tensor t, int64_t dim, ct_tensor idx, ct_tensor *out) {
  return give(out, [&] { return T(t).index_select(dim, T(idx)); });
}
CT_API char *ct_gather(ct_tensor t, int64_t dim, ct_tensor idx, ct_tensor *out) {
  return give(out, [&] { return T(t).gather(dim, T(idx)); });
}
CT_API char *ct_scatter_value(ct_tensor t, int64_t dim, ct_tensor idx, double v, ct_tensor *out) {
  return give(out, [&] { return T(t).scatter(dim, T(idx), v); });
}
CT_API char *ct_where(ct_tensor cond, ct_tensor a, ct_tensor b, ct_tensor *out) {
  return give(out, [&] { return at::where(T(cond), T(a), T(b)); });
}
CT_API char *ct_pad(ct_tensor t, const int64_t *pad, int64_t n, double v, ct_tensor *out) {
  return give(out, [&] { return at::constant_pad_nd(T(t), dims(pad, n), v); });
}
