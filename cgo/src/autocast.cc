// Convolutions and matrix products in a shorter type, the rest as it is.
#include <ATen/autocast_mode.h>

#include "shim.h"

using namespace ct;

namespace {
bool enabled(c10::DeviceType d) {
#if CT_TORCH >= 204
  return at::autocast::is_autocast_enabled(d);
#else
  return d == c10::kCUDA ? at::autocast::is_enabled() : at::autocast::is_cpu_enabled();
#endif
}

at::ScalarType type(c10::DeviceType d) {
#if CT_TORCH >= 204
  return at::autocast::get_autocast_dtype(d);
#else
  return d == c10::kCUDA ? at::autocast::get_autocast_gpu_dtype() : at::autocast::get_autocast_cpu_dtype();
#endif
}

void set(c10::DeviceType d, bool on, at::ScalarType to) {
#if CT_TORCH >= 204
  at::autocast::set_autocast_enabled(d, on);
  at::autocast::set_autocast_dtype(d, to);
#else
  if (d == c10::kCUDA) {
    at::autocast::set_enabled(on);
    at::autocast::set_autocast_gpu_dtype(to);
  } else {
    at::autocast::set_cpu_enabled(on);
    at::autocast::set_autocast_cpu_dtype(to);
  }
#endif
}

// What a region found. libtorch keeps these settings per thread, so this is kept so too.
struct Before {
  c10::DeviceType device;
  bool on;
  at::ScalarType to;
  bool cache;
};
thread_local std::vector<Before> regions;
}  // namespace

bool ct::autocasts(const at::Tensor &t) {
  const auto d = t.device().type();
  return (d == c10::kCPU || d == c10::kCUDA) && enabled(d);
}

at::Tensor ct::cast_once(const at::Tensor &t) { return t.is_cuda() && t.scalar_type() == at::kFloat && autocasts(t) ? t.to(type(c10::kCUDA)) : t; }

CT_API char *ct_autocast_once(ct_tensor t, ct_tensor *out) {
  return give(out, [&] { return cast_once(T(t)); });
}

CT_API char *ct_autocast_begin(int dev, int dtype) {
  return guard([&] {
    const auto d = device(dev, 0).type();
    const auto to = scalar_type(dtype);
    TORCH_CHECK(to == at::kBFloat16 || (to == at::kHalf && d == c10::kCUDA), "no arithmetic in ", to, " on this device");
    regions.push_back({d, enabled(d), type(d), at::autocast::is_autocast_cache_enabled()});
    // libtorch's cache of short weights is one for all threads, and emptied by any of them: a weight that is used twice would be cast once or
    // twice, and its gradients added in another type, as it happens.
    at::autocast::set_autocast_cache_enabled(false);
    set(d, true, to);
    at::autocast::increment_nesting();
  });
}

CT_API char *ct_autocast_end(void) {
  return guard([&] {
    TORCH_CHECK(!regions.empty(), "no region to end");
    const Before b = regions.back();
    regions.pop_back();
    set(b.device, b.on, b.to);
    at::autocast::set_autocast_cache_enabled(b.cache);
    at::autocast::decrement_nesting();
  });
}
