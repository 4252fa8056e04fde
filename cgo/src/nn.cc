// Layers and losses.
#include <torch/csrc/autograd/custom_function.h>

#include "shim.h"

using namespace ct;

namespace {
std::atomic<bool> fast_conv{true};

// A convolution whose input gradient is computed as a forward convolution with the flipped, transposed kernel.
// oneDNN's own backward runs at a tenth of its forward's rate where there are few input channels, and the
// input gradient of the first layer is what every attack step pays for.
struct ThinConv : torch::autograd::Function<ThinConv> {
  static at::Tensor forward(torch::autograd::AutogradContext *ctx, const at::Tensor &x, const at::Tensor &w, const at::Tensor &bias,
                            int64_t padding) {
    ctx->save_for_backward({x, w});
    ctx->saved_data["padding"] = padding;
    return at::conv2d(x, w, bias, 1, padding);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *ctx, torch::autograd::variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &w = saved[1];
    const int64_t padding = ctx->saved_data["padding"].toInt();
    const auto g = grads[0].contiguous();
    at::Tensor gx, gw, gb;
    if (ctx->needs_input_grad(0)) {
      const auto flipped = w.detach().flip({2, 3}).transpose(0, 1).contiguous();
      gx = at::conv2d(g, flipped, {}, 1, at::IntArrayRef({w.size(2) - 1 - padding, w.size(3) - 1 - padding}));
    }
    const bool need_w = ctx->needs_input_grad(1), need_b = ctx->needs_input_grad(2);
    if (need_w || need_b) {
      const int64_t out_channels = w.size(0);
      auto r = at::convolution_backward(g, x, w, at::IntArrayRef(out_channels), {1, 1}, {padding, padding}, {1, 1}, false, {0, 0}, 1,
                                        {false, need_w, need_b});
      gw = std::get<1>(r);
      gb = std::get<2>(r);
    }
    return {gx, gw, gb, at::Tensor()};
  }
};

bool thin(const at::Tensor &x, const at::Tensor &w, int64_t stride, int64_t padding, int64_t dilation, int64_t groups) {
  return fast_conv && x.device().is_cpu() && !autocasts(x) && x.scalar_type() == at::kFloat && x.dim() == 4 && x.requires_grad() &&
         c10::GradMode::is_enabled() && w.size(1) <= 4 && groups == 1 && stride == 1 && dilation == 1 && padding < w.size(2) &&
         padding < w.size(3);
}
}  // namespace

CT_API char *ct_set_fast_conv(int on) {
  return guard([&] { fast_conv = on != 0; });
}

CT_API char *ct_conv2d(ct_tensor xt, ct_tensor wt, ct_tensor bias, int64_t stride, int64_t padding, int64_t dilation, int64_t groups,
                       ct_tensor *out) {
  return give(out, [&] {
    const auto &x = T(xt), &w = T(wt);
    if (w.dim() == 4 && thin(x, w, stride, padding, dilation, groups))  // libtorch 1.13's Function takes no absent tensor
      return ThinConv::apply(x, w, bias ? T(bias) : w.new_zeros({w.size(0)}), padding);
    return at::conv2d(x, w, opt(bias), stride, padding, dilation, groups);
  });
}

CT_API char *ct_linear(ct_tensor x, ct_tensor w, ct_tensor bias, ct_tensor *out) {
  return give(out, [&] { return at::linear(T(x), T(w), opt(bias)); });
}

CT_API char *ct_batch_norm(ct_tensor xt, ct_tensor weight, ct_tensor bias, ct_tensor mean, ct_tensor var, int training, double momentum,
                           double eps, ct_tensor *out) {
  return give(out, [&] {
    const auto &x = T(xt);
    // As PyTorch's Python side has it: one value has no variance, and would leave NaN in the running one.
    TORCH_CHECK(training == 0 || x.dim() < 2 || x.numel() != x.size(1), "one value per channel is not enough in training: ", x.sizes());
    return at::batch_norm(x, opt(weight), opt(bias), opt(mean), opt(var), training != 0, momentum, eps,
                          at::globalContext().userEnabledCuDNN());
  });
}

CT_API char *ct_pool2d(int op, ct_tensor xt, int64_t k, int64_t stride, int64_t padding, ct_tensor *out) {
  return give(out, [&]() -> at::Tensor {
    const auto &x = T(xt);
    switch (op) {
      case CT_MAX_POOL: return at::max_pool2d(x, {k, k}, {stride, stride}, {padding, padding});
      case CT_AVG_POOL: return at::avg_pool2d(x, {k, k}, {stride, stride}, {padding, padding});
      case CT_ADAPTIVE_AVG_POOL: return at::adaptive_avg_pool2d(x, {k, k});
    }
    TORCH_CHECK(false, "unknown pooling ", op);
  });
}

CT_API char *ct_dropout(ct_tensor xt, double p, ct_generator g, ct_tensor *out) {
  return give(out, [&] {
    TORCH_CHECK(p >= 0 && p < 1, "dropout probability must be in [0, 1), got ", p);
    const auto &x = T(xt);
    auto mask = at::empty_like(x).detach().bernoulli_(1 - p, G(g));
    return x * mask.mul_(1 / (1 - p));
  });
}

namespace {
int64_t known(int reduction) {
  TORCH_CHECK(reduction >= CT_REDUCE_NONE && reduction <= CT_REDUCE_SUM, "unknown reduction ", reduction);
  return reduction;  // at::Reduction counts alike
}
}  // namespace

CT_API char *ct_cross_entropy(ct_tensor logits, ct_tensor target, int reduction, double label_smoothing, ct_tensor *out) {
  return give(out, [&] { return at::cross_entropy_loss(unreduced(T(logits)), T(target), {}, known(reduction), -100, label_smoothing); });
}
CT_API char *ct_kl_div(ct_tensor log_p, ct_tensor q, int reduction, ct_tensor *out) {
  return give(out, [&] { return at::kl_div(unreduced(T(log_p)), unreduced(T(q)), known(reduction)); });
}
CT_API char *ct_mse(ct_tensor a, ct_tensor b, int reduction, ct_tensor *out) {
  return give(out, [&] { return at::mse_loss(unreduced(T(a)), unreduced(T(b)), known(reduction)); });
}
