// What every file of the shim shares: the guard that stops exceptions, and the way between handles and at:: values.
#pragma once
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>
#include <torch/version.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "cgotorch.h"

#define CT_API extern "C" __attribute__((visibility("default")))
#define CT_TORCH (TORCH_VERSION_MAJOR * 100 + TORCH_VERSION_MINOR)

namespace ct {

// The answer where no memory is left even for a message. ct_free_string knows it.
inline char no_memory[] = "Mout of memory";

inline char *message(char kind, const char *s) noexcept {
  const char *stack = std::strstr(s, "Exception raised from");  // in the text itself where one exception wrapped another
  size_t n = stack != nullptr ? static_cast<size_t>(stack - s) : std::strlen(s);
  while (n > 0 && (s[n - 1] == '\n' || s[n - 1] == ' ')) n--;
  char *p = static_cast<char *>(std::malloc(n + 2));
  if (p == nullptr) return no_memory;
  p[0] = kind;
  std::memcpy(p + 1, s, n);
  p[n + 1] = '\0';
  return p;
}

// Whether a GPU's allocator has refused memory since this was asked last.
bool refused_memory() noexcept;

// The host's allocator, cuBLAS and CUDA itself report a lack of memory as an error like any other. libtorch only says that it found no
// convolution where none of cuDNN's had the memory that it wanted.
inline char kind_of(const char *s) noexcept {
  for (const char *sign : {"DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "CUDA error: out of memory"})
    if (std::strstr(s, sign) != nullptr) return 'M';
  return std::strstr(s, "unable to find an engine") != nullptr && refused_memory() ? 'M' : 'E';
}

// The one place where C++ exceptions stop.
template <class F>
char *guard(F &&f) noexcept {
  try {
    f();
    return nullptr;
  } catch (const c10::OutOfMemoryError &e) {
    (void)refused_memory();
    return message('M', e.what_without_backtrace());
  } catch (const c10::Error &e) {
    const char *s = e.what_without_backtrace();
    return message(kind_of(s), s);
  } catch (const std::bad_alloc &) {
    return message('M', "out of memory");
  } catch (const std::exception &e) {
    return message('E', e.what());
  } catch (...) {
    return message('E', "an unknown C++ exception");
  }
}

extern std::atomic<int64_t> live;

// Whether plain loops over t's memory may read it as floats in row-major order.
inline bool plain(const at::Tensor &t) { return t.device().is_cpu() && t.scalar_type() == at::kFloat && t.is_contiguous(); }

at::Tensor max_pool2(const at::Tensor &x, bool relu);  // pool.cc
void keep_memory();  // memory.cc: from then on, freed host memory is used again
void keep_at_most(int64_t bytes);  // on this thread; 0: a sixteenth of the machine's memory
void drop_memory();  // what this thread has kept goes back

inline at::Tensor &T(ct_tensor t) { return *static_cast<at::Tensor *>(t); }
inline at::Tensor opt(ct_tensor t) { return t ? T(t) : at::Tensor(); }

// box hands tensors out, all of them or, where one cannot be, none. The readers of handles (ct_dim, ...) rely on defined ones.
inline void box(at::Tensor *ts, size_t n, ct_tensor *out) {
  for (size_t i = 0; i < n; i++) TORCH_CHECK(ts[i].defined(), "the operation gave no tensor");
  std::vector<std::unique_ptr<at::Tensor>> made;
  made.reserve(n);
  for (size_t i = 0; i < n; i++) made.push_back(std::make_unique<at::Tensor>(std::move(ts[i])));
  for (size_t i = 0; i < n; i++) out[i] = made[i].release();
  live.fetch_add(static_cast<int64_t>(n), std::memory_order_relaxed);
}

inline void box(at::Tensor &&t, ct_tensor *out) {
  TORCH_CHECK(t.defined(), "the operation gave no tensor");
  *out = new at::Tensor(std::move(t));
  live.fetch_add(1, std::memory_order_relaxed);
}

// For functions with one tensor result.
template <class F>
char *give(ct_tensor *out, F &&f) noexcept {
  return guard([&] { box(f(), out); });
}

inline at::IntArrayRef dims(const int64_t *p, int64_t n) { return {p, static_cast<size_t>(n)}; }

inline std::vector<at::Tensor> list(const ct_tensor *p, int64_t n) {
  std::vector<at::Tensor> v;
  v.reserve(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; i++) v.push_back(T(p[i]));
  return v;
}

// These throw on codes they do not know, and device also on a GPU where the library has no CUDA.
c10::Device device(int type, int index);
at::ScalarType scalar_type(int dtype);

bool onednn_distrusted();
void check_onednn();  // once a process: libtorch goes without where it is seen to be wrong

// Whether t's device is in a region of ct_autocast_begin.
bool autocasts(const at::Tensor &t);
// t in the type that the region computes in, where that is a GPU's. (On a CPU thin layers stay in float32 within one.)
at::Tensor cast_once(const at::Tensor &t);
// t as the parts that stay in float32 want it.
inline at::Tensor unreduced(const at::Tensor &t) {
  const bool reduced = t.scalar_type() == at::kBFloat16 || t.scalar_type() == at::kHalf;
  return reduced && autocasts(t) ? t.to(at::kFloat) : t;
}

inline at::Generator &G(ct_generator g) { return *static_cast<at::Generator *>(g); }

}  // namespace ct
