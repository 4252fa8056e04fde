// The library as a whole, and what a session sets up on its thread.
#include <ATen/Parallel.h>
#include <c10/core/AutogradState.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>
#include <torch/cuda.h>

#include <array>
#include <limits>
#include <new>
#include <optional>
#include <sstream>
#include <stdexcept>

#include "shim.h"
#ifdef CGOTORCH_CUDA
#include <c10/cuda/CUDACachingAllocator.h>
#include <cuda_runtime_api.h>
#endif

using namespace ct;

namespace {
#if CT_TORCH >= 200
namespace warn = c10::WarningUtils;
#else
namespace warn = c10::Warning;
#endif

// libtorch keeps its warning handler per thread, so each session's thread has a log of its own.
struct Capture final : c10::WarningHandler {
  std::string log;
  void add(const std::string &m) { log += m.substr(0, m.find('\n')) + "\n"; }
#if CT_TORCH >= 200
  void process(const c10::Warning &w) override { add(w.msg()); }
#else
  void process(const c10::SourceLocation &, const std::string &m, bool) override { add(m); }
#endif
};
thread_local Capture capture;

// What a session changes on its thread. Sessions nest, so there can be several.
struct Before {
  int threads = at::get_num_threads();  // asking also makes libtorch set this thread up, which would undo set_threads later
  c10::WarningHandler *handler = warn::get_warning_handler();
  std::optional<c10::Device> device;
  std::optional<c10::Stream> stream;
#if CT_TORCH >= 200
  bool multithreading = c10::AutogradState::get_tls_state().get_multithreading_enabled();
#endif

  void restore() const {
    warn::set_warning_handler(handler);
    if (stream) c10::impl::VirtualGuardImpl(c10::kCUDA).exchangeStream(*stream);
    // Unchecked, for setDevice would make a context on a GPU that only was the thread's default, and end the session with an error where that GPU is full.
    if (device) c10::impl::VirtualGuardImpl(c10::kCUDA).uncheckedSetDevice(*device);
#if CT_TORCH >= 200
    c10::AutogradState::get_tls_state().set_multithreading_enabled(multithreading);
#endif
    at::set_num_threads(threads);  // but not OpenBLAS's, which all threads share
  }
};
thread_local std::vector<Before> sessions;

void set_threads(int n) {
  at::set_num_threads(n);
  // OpenBLAS built on pthreads has a pool that libtorch never tells, and its lock serialises callers.
  if (auto f = reinterpret_cast<void (*)(int)>(dlsym(RTLD_DEFAULT, "openblas_set_num_threads"))) f(n);
}

char *copy(const std::string &s) {
  char *p = static_cast<char *>(std::malloc(s.size() + 1));
  if (p == nullptr) throw std::bad_alloc();
  std::memcpy(p, s.c_str(), s.size() + 1);
  return p;
}

void need_cuda() {
#ifndef CGOTORCH_CUDA
  TORCH_CHECK(false, "this libtorch (", TORCH_VERSION, ") is built for the CPU only");
#endif
}

int device_count() { return torch::cuda::is_available() ? static_cast<int>(torch::cuda::device_count()) : 0; }

void begin(const ct_session &s, Before &before) {
  warn::set_warning_handler(&capture);
  if (s.threads > 0) set_threads(s.threads);
  if (s.device_type == CT_CPU) return;
  const auto dev = device(s.device_type, s.device_index);
  TORCH_CHECK(s.device_index < device_count(), "no CUDA device ", s.device_index, ": this machine shows ", device_count());
  // A stream of the session's own: graph capture needs one, and one stream makes freeing safe without bookkeeping.
  const c10::impl::VirtualGuardImpl impl(c10::kCUDA);
  before.device = impl.exchangeDevice(dev);
  before.stream = impl.exchangeStream(impl.getStreamFromGlobalPool(dev));
  // Backward on this thread too: what cuDNN and cuBLAS set up for a thread while warming up is then there while recording.
#if CT_TORCH >= 200
  c10::AutogradState::get_tls_state().set_multithreading_enabled(false);
#endif
}
}  // namespace

c10::Device ct::device(int type, int index) {
  if (type == CT_CPU) return c10::Device(c10::kCPU);
  TORCH_CHECK(type == CT_CUDA, "unknown kind of device ", type);
  need_cuda();
  TORCH_CHECK(index >= 0 && index <= std::numeric_limits<c10::DeviceIndex>::max(), "no CUDA device ", index);
  return c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(index));
}

bool ct::refused_memory() noexcept {
#ifdef CGOTORCH_CUDA
  static std::array<std::atomic<int64_t>, 64> seen{};  // by device: several threads may run out at once, each of its own
  int64_t now = 0;
  size_t at = 0;
  ct_free_string(guard([&] {
    const auto d = c10::cuda::current_device();
    at = static_cast<size_t>(d);
    now = c10::cuda::CUDACachingAllocator::getDeviceStats(d).num_ooms;
  }));
  return at < seen.size() && now > seen[at].exchange(now);
#else
  return false;
#endif
}

CT_API int ct_abi(void) { return CT_ABI; }
CT_API const char *ct_torch_version(void) { return TORCH_VERSION; }
CT_API void ct_free_string(char *s) {
  if (s != no_memory) std::free(s);
}
CT_API int ct_built_with_cuda(void) {
#ifdef CGOTORCH_CUDA
  return 1;
#else
  return 0;
#endif
}
CT_API char *ct_build_info(char **out) {
  return guard([&] {
    const bool openblas = dlsym(RTLD_DEFAULT, "openblas_set_num_threads") != nullptr;
    *out = copy(at::show_config() + (openblas ? "  - OpenBLAS is loaded\n" : ""));
  });
}
CT_API char *ct_cuda_device_count(int *out) {
  return guard([&] { *out = device_count(); });
}
CT_API char *ct_cuda_device_name(int index, char **out) {
  return guard([&] {
    need_cuda();
    (void)index;
    (void)out;
#ifdef CGOTORCH_CUDA
    cudaDeviceProp p;
    TORCH_CHECK(cudaGetDeviceProperties(&p, index) == cudaSuccess, "no CUDA device ", index);
    *out = copy(p.name);
#endif
  });
}
CT_API char *ct_set_deterministic(int on) {
  return guard([&] {
    at::globalContext().setDeterministicAlgorithms(on != 0, /*warn_only=*/false);
    at::globalContext().setDeterministicCuDNN(on != 0);
  });
}
// Only the two old setters: from 2.9 on, mixing them with the new family is an error at run time.
CT_API char *ct_set_tf32(int on) {
  return guard([&] {
    at::globalContext().setAllowTF32CuBLAS(on != 0);
    at::globalContext().setAllowTF32CuDNN(on != 0);
  });
}
CT_API char *ct_set_cudnn(int search, int deterministic) {
  return guard([&] {
    at::globalContext().setBenchmarkCuDNN(search != 0);
    at::globalContext().setDeterministicCuDNN(deterministic != 0);
  });
}
CT_API char *ct_throw(int kind) {
  return guard([&] {
    if (kind == 0) throw std::runtime_error("plain std::runtime_error");
    if (kind == 1) TORCH_CHECK(false, "a c10::Error");
    if (kind == 3) throw std::bad_alloc();
    if (kind == 5) TORCH_CHECK(false, "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`");
    if (kind == 6) TORCH_CHECK(false, "FIND was unable to find an engine to execute this computation");
    if (kind != 4) throw 42;
    TORCH_WARN("a warning\nand its detail");
  });
}

CT_API char *ct_session_begin(const ct_session *s) {
  return guard([&] {
    static const bool once = (keep_memory(), true);
    (void)once;
    sessions.emplace_back();
    try {
      begin(*s, sessions.back());
      check_onednn();
      if (sessions.size() == 1) keep_at_most(s->keep);
    } catch (...) {
      const Before before = sessions.back();
      sessions.pop_back();
      before.restore();
      throw;
    }
  });
}

CT_API char *ct_session_end(const ct_session *s) {
  char *first = ct_synchronize(s);
  char *second = guard([&] {
    if (sessions.empty()) return;
    const Before before = sessions.back();
    sessions.pop_back();
    before.restore();
    if (sessions.empty()) drop_memory();
  });
  if (first == nullptr) return second;
  ct_free_string(second);
  return first;
}

CT_API char *ct_synchronize(const ct_session *s) {
  return guard([&] {
    if (s->device_type != CT_CUDA) return;
    const c10::impl::VirtualGuardImpl impl(c10::kCUDA);
    impl.synchronizeStream(impl.getStream(device(CT_CUDA, s->device_index)));
  });
}

CT_API char *ct_drain_warnings(char **out) {
  return guard([&] {
    *out = capture.log.empty() ? nullptr : copy(capture.log);
    capture.log.clear();
  });
}
CT_API int ct_num_threads(void) { return at::get_num_threads(); }

#ifdef CGOTORCH_CUDA
CT_API char *ct_cuda_memory(int index, ct_memory *out) {
  return guard([&] {
    const auto s = c10::cuda::CUDACachingAllocator::getDeviceStats(static_cast<c10::DeviceIndex>(index));
    *out = {s.allocated_bytes[0].current, s.allocated_bytes[0].peak, s.reserved_bytes[0].current,
            s.reserved_bytes[0].peak,     s.num_alloc_retries,       s.num_ooms};
  });
}
CT_API char *ct_cuda_reset_peak(int index) {
  return guard([&] { c10::cuda::CUDACachingAllocator::resetPeakStats(static_cast<c10::DeviceIndex>(index)); });
}
CT_API char *ct_cuda_empty_cache(void) {
  return guard([&] { c10::cuda::CUDACachingAllocator::emptyCache(); });
}
#else
CT_API char *ct_cuda_memory(int, ct_memory *) { return guard(need_cuda); }
CT_API char *ct_cuda_reset_peak(int) { return guard(need_cuda); }
CT_API char *ct_cuda_empty_cache(void) { return guard(need_cuda); }
#endif
