// Max-pooling of 2x2 windows on the CPU. libtorch's own looks at one element at a time and writes each maximum's place beside it.
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels.h"
#include "shim.h"

namespace ct {
namespace {
struct Pool2 : torch::autograd::Function<Pool2> {
  static at::Tensor forward(torch::autograd::AutogradContext *ctx, const at::Tensor &xt, bool relu) {
    const auto x = xt.contiguous();
    const int64_t h = x.size(2), w = x.size(3);
    auto y = at::empty({x.size(0), x.size(1), h / 2, w / 2}, x.options());
    const float *from = x.data_ptr<float>();
    const Kernels &k = kernels();
    float *to = y.data_ptr<float>();
    at::parallel_for(0, x.size(0) * x.size(1), 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i++) k.pool(from + i * h * w, h, w, to + i * (h / 2) * (w / 2));
    });
    if (relu) k.relu(to, y.numel());
    ctx->save_for_backward({x, y});
    ctx->saved_data["relu"] = relu;
    return y;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *ctx, torch::autograd::variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &x = saved[0];
    // Where ReLU has cut a maximum off, y is 0, which may be no element of its window: but then its gradient is 0 too.
    const auto g = ctx->saved_data["relu"].toBool() ? at::threshold_backward(grads[0], saved[1], 0).contiguous() : grads[0].contiguous();
    const int64_t h = x.size(2), w = x.size(3), part = (h / 2) * (w / 2);
    auto gx = at::empty(x.sizes(), x.options());
    const float *from = x.data_ptr<float>(), *y = saved[1].data_ptr<float>(), *gy = g.data_ptr<float>();
    float *to = gx.data_ptr<float>();
    const Kernels &k = kernels();
    at::parallel_for(0, x.size(0) * x.size(1), 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i++) k.pool_grad(from + i * h * w, y + i * part, gy + i * part, h, w, to + i * h * w);
    });
    return {gx, at::Tensor()};
  }
};
}  // namespace

at::Tensor max_pool2(const at::Tensor &given, bool relu) {
  const auto x = autocasts(given) && given.device().is_cpu() ? given.to(at::kFloat) : given;
  if (kernels_on() && x.device().is_cpu() && x.scalar_type() == at::kFloat && x.dim() == 4 && x.size(2) > 1 && x.size(3) > 1 && x.numel() > 0)
    return Pool2::apply(x, relu);
  const auto y = at::max_pool2d(x, 2);
  return relu ? at::relu(y) : y;
}
}  // namespace ct
