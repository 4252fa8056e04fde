// Generators of their own: libtorch's default one is shared by the whole process.
#include <mutex>

#include "shim.h"

using namespace ct;

CT_API char *ct_generator_new(int dev, int index, ct_generator *out) {
  return guard([&] { *out = new at::Generator(at::globalContext().defaultGenerator(device(dev, index)).clone()); });
}
CT_API void ct_generator_close(ct_generator g) {
  char *e = guard([&] { delete static_cast<at::Generator *>(g); });
  ct_free_string(e);
}
CT_API char *ct_generator_seed(ct_generator g, uint64_t seed) {
  return guard([&] {
    std::lock_guard<std::mutex> lock(G(g).mutex());
    G(g).set_current_seed(seed);
  });
}
CT_API char *ct_generator_state(ct_generator g, ct_tensor *out) {
  return give(out, [&] {
    std::lock_guard<std::mutex> lock(G(g).mutex());
    return G(g).get_state();
  });
}
CT_API char *ct_generator_set_state(ct_generator g, ct_tensor state) {
  return guard([&] {
    std::lock_guard<std::mutex> lock(G(g).mutex());
    G(g).set_state(T(state));
  });
}

CT_API char *ct_random_(int op, ct_tensor t, double a, double b, ct_generator g) {
  return guard([&] {
    c10::NoGradGuard no_grad;
    auto &x = T(t);
    switch (op) {
      case CT_UNIFORM_: x.uniform_(a, b, G(g)); return;
      case CT_NORMAL_: x.normal_(a, b, G(g)); return;
      case CT_BERNOULLI_: x.bernoulli_(a, G(g)); return;
    }
    TORCH_CHECK(false, "unknown distribution ", op);
  });
}
