// Layers and losses.
#include <torch/csrc/autograd/custom_function.h>

#include "direct.h"
#include "kernels.h"
#include "shim.h"

using namespace ct;

namespace {
// A convolution of which direct.h takes some part. ReLU may belong to it; then its result is kept for the gradient.
struct DirectConv : torch::autograd::Function<DirectConv> {
  static at::Tensor forward(torch::autograd::AutogradContext *ctx, const at::Tensor &x, const at::Tensor &w, const c10::optional<at::Tensor> &bias,
                            int64_t stride, int64_t padding, bool relu) {
    const Conv c{stride, padding, relu};
    at::Tensor y;
    if (direct_choice(x, w, bias.value_or(at::Tensor()), c).forward) {
      y = direct_forward(x, w, bias.value_or(at::Tensor()), c);
    } else {
      y = at::conv2d(x, w, bias, stride, padding);
      if (relu) y.relu_();
    }
    ctx->save_for_backward({x, w, relu ? y : at::Tensor()});
    // In one number: each entry of saved_data costs as much as a small operation.
    ctx->saved_data["conv"] = padding * 8 + (stride - 1) * 4 + relu * 2 + bias.has_value();
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *ctx, torch::autograd::variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &w = saved[1], &y = saved[2];
    const int64_t conv = ctx->saved_data["conv"].toInt();
    const Conv c{conv / 4 % 2 + 1, conv / 8, conv / 2 % 2 != 0};
    // What is absent has no place in the count.
    const bool need[] = {ctx->needs_input_grad(0), ctx->needs_input_grad(1), conv % 2 != 0 && ctx->needs_input_grad(2)};
    const auto choice = direct_choice(x, w, {}, c);
    const auto g = grads[0].contiguous();
    at::Tensor gx, gw, gb, masked;
    const auto past_relu = [&] {
      if (!masked.defined()) masked = c.relu ? at::threshold_backward(g, y, 0) : g;
      return masked;
    };
    if (need[0] && choice.input) gx = choice.input == by_rows ? rows_input_grad(g, y, x, w, c) : direct_input_grad(g, y, x, w, c);
    if (need[1] && choice.weight) gw = choice.weight == by_rows ? rows_weight_grad(g, y, x, w, c) : direct_weight_grad(g, y, x, w, c);
    if (need[2]) gb = past_relu().sum(at::IntArrayRef{0, 2, 3});
    const bool rest[] = {need[0] && !choice.input, need[1] && !choice.weight};
    if (rest[0] || rest[1]) {
      auto r = at::convolution_backward(past_relu(), x, w, c10::nullopt, {c.stride, c.stride}, {c.padding, c.padding}, {1, 1}, false, {0, 0}, 1,
                                        {rest[0], rest[1], false});
      if (rest[0]) gx = std::get<0>(r);
      if (rest[1]) gw = std::get<1>(r);
    }
    return {gx, gw, gb, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

// Whether anything of a convolution that is recorded, or not, is for direct.h.
bool direct(const at::Tensor &x, const at::Tensor &w, const at::Tensor &bias, const Conv &c) {
  const auto choice = direct_choice(x, w, bias, c);
  if (autocasts(x)) return choice.forward && choice.input;  // thin ones are faster in float32 here than in a shorter type elsewhere
  return choice.forward || (c10::GradMode::is_enabled() && (choice.input || choice.weight));
}
}  // namespace

CT_API char *ct_conv2d(ct_tensor xt, ct_tensor wt, ct_tensor bias, int64_t stride, int64_t padding, int64_t dilation, int64_t groups,
                       int relu, ct_tensor *out) {
  return give(out, [&] {
    const auto &x = T(xt), &w = T(wt);
    const Conv c{stride, padding, relu != 0};
    if (dilation == 1 && groups == 1) {
      const auto f = autocasts(x) && x.device().is_cpu() ? x.to(at::kFloat) : x;
      if (direct(f, w, opt(bias), c))
        return DirectConv::apply(f, w, bias ? c10::optional<at::Tensor>(T(bias)) : c10::nullopt, stride, padding, relu != 0);
    }
    auto y = at::conv2d(x, w, opt(bias), stride, padding, dilation, groups);
    return relu ? at::relu(y) : y;
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
      case CT_MAX_POOL:
      case CT_MAX_POOL_RELU: {
        if (k == 2 && stride == 2 && padding == 0) return max_pool2(x, op == CT_MAX_POOL_RELU);
        const auto y = at::max_pool2d(x, {k, k}, {stride, stride}, {padding, padding});
        return op == CT_MAX_POOL_RELU ? at::relu(y) : y;
      }
      case CT_AVG_POOL: return at::avg_pool2d(x, {k, k}, {stride, stride}, {padding, padding});
      case CT_ADAPTIVE_AVG_POOL: return at::adaptive_avg_pool2d(x, {k, k});
    }
    TORCH_CHECK(false, "unknown pooling ", op);
  });
}

namespace {
// What a residual block ends with. Both gradients are the same tensor.
struct AddRelu : torch::autograd::Function<AddRelu> {
  static at::Tensor forward(torch::autograd::AutogradContext *ctx, const at::Tensor &a, const at::Tensor &b) {
    auto y = at::empty_like(a);
    kernels().add_relu(a.data_ptr<float>(), b.data_ptr<float>(), y.data_ptr<float>(), a.numel());
    ctx->save_for_backward({y});
    return y;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *ctx, torch::autograd::variable_list grads) {
    const auto g = at::threshold_backward(grads[0], ctx->get_saved_variables()[0], 0);
    return {g, g};
  }
};
}  // namespace

CT_API char *ct_add_relu(ct_tensor at_, ct_tensor bt, ct_tensor *out) {
  return give(out, [&]() -> at::Tensor {
    const auto &a = T(at_), &b = T(bt);
    TORCH_CHECK(a.sizes() == b.sizes(), "two tensors of one shape are needed, got ", a.sizes(), " and ", b.sizes());
    if (kernels_on() && plain(a) && plain(b)) return AddRelu::apply(a, b);
    return a.add(b).relu_();
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
