// Chooses the kernels for the processor at hand.
#include "kernels.h"

#include <atomic>
#include <cstring>

#include "shim.h"

namespace ct {
extern const Kernels kernels_base;
#if defined(__x86_64__)
extern const Kernels kernels_avx2, kernels_avx512;
#endif

namespace {
struct Named {
  const char *name;
  const Kernels *table;
  bool here;  // this processor has the instructions
};

// From the best on.
const Named sets[] = {
#if defined(__x86_64__)
    {"avx512", &kernels_avx512,
     __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma")},
    {"avx2", &kernels_avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
#endif
    {"base", &kernels_base, true},
};

const Kernels *best() {
  for (const auto &s : sets)
    if (s.here) return s.table;
  return &kernels_base;
}

std::atomic<const Kernels *> &current() {
  static std::atomic<const Kernels *> p{best()};
  return p;
}
std::atomic<bool> on{true};
}  // namespace

const Kernels &kernels() { return *current(); }
bool kernels_on() { return on; }
}  // namespace ct

CT_API char *ct_set_kernels(const char *name) {
  return ct::guard([&] {
    const ct::Kernels *chosen = std::strcmp(name, "best") == 0 ? ct::best() : nullptr;
    for (const auto &s : ct::sets)
      if (s.here && std::strcmp(name, s.name) == 0) chosen = s.table;
    TORCH_CHECK(chosen != nullptr || std::strcmp(name, "off") == 0, "this processor has no kernels named ", name);
    ct::on = chosen != nullptr;
    if (chosen != nullptr) ct::current() = chosen;
  });
}
