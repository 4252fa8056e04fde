// Max-pooling of 2x2 windows on the CPU. libtorch's own looks at one element at a time and writes each maximum's place beside it.
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels.h"
#include "shim.h"

namespace ct {
namespace {
struct Pool2 : torch::autograd::Function<Pool2> {
  static at::Tensor forward(torch::autograd::AutogradContext *ctx, const at::Tensor &xt) {
    const auto x = xt.contiguous();
    const int64_t h = x.size(2), w = x.size(3);
    auto y = at::empty({x.size(0), x.size(1), h / 2, w / 2}, x.options());
    const float *from = x.data_ptr<float>();
    const Kernels &k = kernels();
    float *to = y.data_ptr<float>();
    at::parallel_for(0, x.size(0) * x.size(1), 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i++) k.pool(from + i * h * w, h, w, to + i * (h / 2) * (w / 2));
    });
    ctx->save_for_backward({x, y});
    return y;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *ctx, torch::autograd::variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &x = saved[0];
    const auto g = grads[0].contiguous();
    const int64_t h = x.size(2), w = x.size(3), part = (h / 2) * (w / 2);
    auto gx = at::empty(x.sizes(), x.options());
    const float *from = x.data_ptr<float>(), *y = saved[1].data_ptr<float>(), *gy = g.data_ptr<float>();
    float *to = gx.data_ptr<float>();
    const Kernels &k = kernels();
    at::parallel_for(0, x.size(0) * x.size(1), 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i++) k.pool_grad(from + i * h * w, y + i * part, gy + i * part, h, w, to + i * h * w);
    });
    return {gx};
  }
};
}  // namespace

at::Tensor max_pool2(const at::Tensor &given) {
  const auto x = autocasts(given) && given.device().is_cpu() ? given.to(at::kFloat) : given;
  if (kernels_on() && x.device().is_cpu() && x.scalar_type() == at::kFloat && x.dim() == 4 && x.size(2) > 1 && x.size(3) > 1 && x.numel() > 0)
    return Pool2::apply(x);
  return at::max_pool2d(x, 2);
}
}  // namespace ct
