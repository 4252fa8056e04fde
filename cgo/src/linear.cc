// Linear layers whose weights serve many products: an attack's. BLAS brings the weights into the order of its kernel at every call, which
// for a shard of a batch takes longer than the product; here that is done once.
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "direct_parts.h"
#include "kernels.h"
#include "shim.h"

using namespace ct;

namespace {
constexpr int64_t panel_width = 64, depth = 96;  // a block of depth rows of a panel stays in a processor's first cache

int64_t padded_width(int64_t n) { return (n + 15) / 16 * 16; }

// A matrix [k, n] in panels of 64 columns, each [k, 64] without gaps; the last one is narrower, filled up with zeros to a multiple of 16.
int64_t packed_size(int64_t k, int64_t n) { return k * padded_width(n); }

// at(row, column) is the matrix.
template <class F>
void pack_panels(int64_t k, int64_t n, float *to, F &&at) {
  for (int64_t first = 0; first < n; first += panel_width) {
    const int64_t columns = std::min(panel_width, n - first), width = padded_width(columns);
    for (int64_t r = 0; r < k; r++, to += width)
      for (int64_t c = 0; c < width; c++) to[c] = c < columns ? at(r, first + c) : 0;
  }
}

thread_local Scratch left, wide;

// out [m, n] = x [m, k] times the packed matrix, plus a bias [n] if there is one. x is 0 where y, if it is given, is not above 0.
void multiply(const float *x, const float *y, int64_t m, const float *packed, int64_t k, int64_t n, const float *bias, float *out) {
  const Kernels &kn = kernels();
  const Blocks rows(m, row_outs);
  float *xs = left.get(m * k);
  for (int64_t r = 0; r < m; r += rows.size) {
    const int64_t count = std::min(rows.size, m - r);
    for (int64_t j = 0; j < count; j++) {
      const int64_t from = (r + j) * k;
      float *to = xs + r * k + j;
      if (y == nullptr)
        for (int64_t t = 0; t < k; t++) to[t * count] = x[from + t];
      else
        for (int64_t t = 0; t < k; t++) to[t * count] = y[from + t] > 0 ? x[from + t] : 0;
    }
  }
  float *sums = wide.get(m * panel_width);
  int32_t offsets[depth];
  for (int64_t first = 0; first < n; first += panel_width) {
    const int64_t columns = std::min(panel_width, n - first), width = padded_width(columns);
    for (int64_t t = 0; t < depth; t++) offsets[t] = static_cast<int32_t>(t * width);
    for (int64_t r = 0; r < m; r++)
      for (int64_t c = 0; c < width; c++) sums[r * width + c] = bias != nullptr && c < columns ? bias[first + c] : 0;
    for (int64_t t = 0; t < k; t += depth)
      for (int64_t r = 0; r < m; r += rows.size) {
        const int64_t count = std::min(rows.size, m - r);
        kn.flat(packed + t * width, offsets, xs + r * k + t * count, std::min(depth, k - t), count, width, nullptr, sums + r * width, width);
      }
    packed += k * width;
    for (int64_t r = 0; r < m; r++) std::copy_n(sums + r * width, columns, out + r * n + first);
  }
}

struct PackedLinear : torch::autograd::Function<PackedLinear> {
  static at::Tensor forward(torch::autograd::AutogradContext *ctx, const at::Tensor &xt, const at::Tensor &packed, const at::Tensor &w,
                            const c10::optional<at::Tensor> &bias, bool relu) {
    const auto x = xt.contiguous();
    const int64_t in = w.size(1), out = w.size(0);
    auto y = at::empty({x.size(0), out}, x.options());
    multiply(x.data_ptr<float>(), nullptr, x.size(0), packed.data_ptr<float>(), in, out, bias ? bias->data_ptr<float>() : nullptr,
             y.data_ptr<float>());
    if (relu) kernels().relu(y.data_ptr<float>(), y.numel());
    ctx->save_for_backward({packed, relu ? y : at::Tensor()});
    ctx->saved_data["in"] = in * 2 + relu;
    return y;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *ctx, torch::autograd::variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto g = grads[0].contiguous();
    const int64_t packed = ctx->saved_data["in"].toInt(), in = packed / 2, out = g.size(1);
    auto gx = at::empty({g.size(0), in}, g.options());
    multiply(g.data_ptr<float>(), packed % 2 != 0 ? saved[1].data_ptr<float>() : nullptr, g.size(0),
             saved[0].data_ptr<float>() + packed_size(in, out), out, in, nullptr, gx.data_ptr<float>());
    return {gx, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};
}  // namespace

CT_API char *ct_linear_pack(ct_tensor wt, ct_tensor *out) {
  return give(out, [&]() -> at::Tensor {
    const auto w = T(wt).detach();
    TORCH_CHECK(w.dim() == 2, "a matrix is needed, got ", w.sizes());
    if (w.is_cuda() && autocasts(w)) return cast_once(w);
    if (!kernels_on() || !plain(w)) return at::empty({0}, w.options());
    const int64_t n = w.size(0), k = w.size(1);
    auto packed = at::empty({packed_size(k, n) + packed_size(n, k)}, w.options());
    const float *from = w.data_ptr<float>();
    float *to = packed.data_ptr<float>();
    pack_panels(k, n, to, [&](int64_t r, int64_t c) { return from[c * k + r]; });
    pack_panels(n, k, to + packed_size(k, n), [&](int64_t r, int64_t c) { return from[r * k + c]; });
    return packed;
  });
}

CT_API char *ct_linear_packed(ct_tensor xt, ct_tensor pt, ct_tensor wt, ct_tensor bt, int relu, ct_tensor *out) {
  return give(out, [&]() -> at::Tensor {
    const auto &x = T(xt), &packed = T(pt);
    const auto w = T(wt).detach(), bias = bt ? T(bt).detach() : at::Tensor();
    if (packed.numel() != 0 && x.dim() == 2 && x.device().is_cpu() && x.scalar_type() == at::kFloat && x.size(0) > 0 && !autocasts(x) &&
        (!bias.defined() || plain(bias))) {
      TORCH_CHECK(x.size(1) == w.size(1) && packed.numel() == packed_size(w.size(1), w.size(0)) + packed_size(w.size(0), w.size(1)),
                  "input ", x.sizes(), " and packed weights of ", packed.numel(), " numbers do not fit weights ", w.sizes());
      return PackedLinear::apply(x, packed, w, bias.defined() ? c10::optional<at::Tensor>(bias) : c10::nullopt, relu != 0);
    }
    const auto y = at::linear(x, x.is_cuda() && autocasts(x) && packed.sizes() == w.sizes() ? packed : w, bias);
    return relu != 0 ? at::relu(y) : y;
  });
}
