// What every file of the shim shares: the guard that stops exceptions, and the way between handles and at:: values.
#pragma once
#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/version.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "cgotorch.h"

#define CT_API extern "C" __attribute__((visibility("default")))
#define CT_TORCH (TORCH_VERSION_MAJOR * 100 + TORCH_VERSION_MINOR)

namespace ct {

inline char *message(char kind, const char *s) noexcept {
  const size_t n = std::strlen(s);
  char *p = static_cast<char *>(std::malloc(n + 2));
  if (p == nullptr) return nullptr;
  p[0] = kind;
  std::memcpy(p + 1, s, n + 1);
  return p;
}

// The one place where C++ exceptions stop.
template <class F>
char *guard(F &&f) noexcept {
  try {
    f();
    return nullptr;
  } catch (const c10::OutOfMemoryError &e) {
    return message('M', e.what_without_backtrace());
  } catch (const c10::Error &e) {
    return message('E', e.what_without_backtrace());
  } catch (const std::bad_alloc &) {
    return message('M', "out of memory");
  } catch (const std::exception &e) {
    return message('E', e.what());
  } catch (...) {
    return message('E', "an unknown C++ exception");
  }
}

extern std::atomic<int64_t> live;

inline at::Tensor &T(ct_tensor t) { return *static_cast<at::Tensor *>(t); }
inline at::Tensor opt(ct_tensor t) { return t ? T(t) : at::Tensor(); }

inline ct_tensor box(at::Tensor &&t) {
  auto *p = new at::Tensor(std::move(t));
  live.fetch_add(1, std::memory_order_relaxed);
  return p;
}

// For functions with one tensor result.
template <class F>
char *give(ct_tensor *out, F &&f) noexcept {
  return guard([&] { *out = box(f()); });
}

inline at::IntArrayRef dims(const int64_t *p, int64_t n) { return {p, static_cast<size_t>(n)}; }

inline std::vector<at::Tensor> list(const ct_tensor *p, int64_t n) {
  std::vector<at::Tensor> v;
  v.reserve(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; i++) v.push_back(T(p[i]));
  return v;
}

inline c10::Device device(int type, int index) {
  return type == CT_CUDA ? c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(index)) : c10::Device(c10::kCPU);
}

at::ScalarType scalar_type(int dtype);  // throws on an unknown code

inline at::Generator &G(ct_generator g) { return *static_cast<at::Generator *>(g); }

}  // namespace ct
