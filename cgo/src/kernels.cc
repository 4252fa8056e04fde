// Chooses the kernels for the processor at hand.
#include "kernels.h"

namespace ct {
extern const Kernels kernels_base;
#if defined(__x86_64__)
extern const Kernels kernels_avx2, kernels_avx512;
#endif

namespace {
const Kernels &choose() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw"))
    return kernels_avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return kernels_avx2;
#endif
  return kernels_base;
}
}  // namespace

const Kernels &kernels() {
  static const Kernels &chosen = choose();
  return chosen;
}
}  // namespace ct
