// Gradients.
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/csrc/autograd/autograd.h>

#include "shim.h"

using namespace ct;

CT_API int ct_grad_enabled(void) { return c10::GradMode::is_enabled(); }
CT_API void ct_set_grad_enabled(int on) { c10::GradMode::set_enabled(on != 0); }

CT_API char *ct_grad(ct_tensor loss, const ct_tensor *inputs, int64_t n, ct_tensor *out) {
  return guard([&] {
    // A backward operation runs in its forward operation's type; autocast would have a say in it again.
    const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
    auto grads = torch::autograd::grad({T(loss)}, list(inputs, n));
    box(grads.data(), grads.size(), out);
  });
}
