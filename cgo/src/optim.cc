// Updates in place over lists of tensors: a handful of calls however many layers there are.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels.h"
#include "shim.h"

// ATen.h has what there is; these tell whether there is.
#if __has_include(<ATen/ops/_fused_sgd.h>)
#define CT_HAS_FUSED_SGD
#endif
#if CT_TORCH >= 200 && __has_include(<ATen/ops/_fused_adam.h>)
#define CT_HAS_FUSED_ADAM
#endif
#if __has_include(<ATen/ops/_foreach_copy.h>)
#define CT_HAS_FOREACH_COPY
#endif

using namespace ct;

namespace {
// Lists of which one would be broadcast into the other are more likely a mistake.
void alike(const std::vector<at::Tensor> &a, const std::vector<at::Tensor> &b) {
  for (size_t i = 0; i < a.size(); i++)
    TORCH_CHECK(a[i].sizes() == b[i].sizes(), "tensors number ", i, " of two lists have the shapes ", a[i].sizes(), " and ", b[i].sizes());
}

using Tensors = std::vector<at::Tensor>;

std::atomic<bool> fused_everywhere{false};

// libtorch's one-kernel optimizers take float32 lists that are laid out alike; for all else there is the longer way. They are for
// GPUs: a CPU's rounding is not to depend on whether its libtorch has them.
[[maybe_unused]] bool fusable(std::initializer_list<const Tensors *> lists) {
  const auto &first = **lists.begin();
  for (const auto *ts : lists)
    for (size_t i = 0; i < ts->size(); i++) {
      const auto &t = (*ts)[i];
      if (!(t.is_cuda() || fused_everywhere) || t.scalar_type() != at::kFloat || t.strides() != first[i].strides() ||
          !t.is_non_overlapping_and_dense())
        return false;
    }
  return true;
}
// Whether our own loops may take lists that are as long and as large as each other.
bool ours(std::initializer_list<const Tensors *> lists) {
  return kernels_on() && std::all_of(lists.begin(), lists.end(), [](const Tensors *ts) { return std::all_of(ts->begin(), ts->end(), plain); });
}
}  // namespace

CT_API char *ct_set_fused(int on) {
  return guard([&] { fused_everywhere = on != 0; });
}

CT_API char *ct_list_add_(const ct_tensor *a, const ct_tensor *b, int64_t n, double alpha) {
  return guard([&] {
    c10::NoGradGuard no_grad;
    const auto x = list(a, n), y = list(b, n);
    alike(x, y);
    at::_foreach_add_(x, y, alpha);
  });
}
CT_API char *ct_list_mul_(const ct_tensor *a, const ct_tensor *b, int64_t n) {
  return guard([&] {
    c10::NoGradGuard no_grad;
    const auto x = list(a, n), y = list(b, n);
    alike(x, y);
    at::_foreach_mul_(x, y);
  });
}
CT_API char *ct_list_scale_(const ct_tensor *a, int64_t n, double v) {
  return guard([&] {
    c10::NoGradGuard no_grad;
    at::_foreach_mul_(list(a, n), v);
  });
}
CT_API char *ct_list_copy_(const ct_tensor *dst, const ct_tensor *src, int64_t n) {
  return guard([&] {
    c10::NoGradGuard no_grad;
    const auto to = list(dst, n), from = list(src, n);
    alike(to, from);
#ifdef CT_HAS_FOREACH_COPY
    at::_foreach_copy_(to, from);
#else
    for (size_t i = 0; i < to.size(); i++) to[i].copy_(from[i]);
#endif
  });
}

// torch.optim.SGD's order of operations; g is scratch afterwards.
CT_API char *ct_sgd_(const ct_tensor *pp, const ct_tensor *gp, const ct_tensor *bp, int64_t n, double lr, double momentum,
                     double weight_decay, int nesterov, int first) {
  return guard([&] {
    c10::NoGradGuard no_grad;
    auto p = list(pp, n), g = list(gp, n);
    alike(p, g);
    auto buf = momentum != 0 ? list(bp, n) : Tensors();
    alike(buf, momentum != 0 ? p : buf);
    if (ours({&p, &g, &buf})) {
      const Sgd o{float(lr), float(momentum), float(weight_decay), nesterov != 0, first != 0};
      for (size_t i = 0; i < p.size(); i++)
        kernels().sgd(p[i].data_ptr<float>(), g[i].data_ptr<float>(), buf.empty() ? nullptr : buf[i].data_ptr<float>(), o, p[i].numel());
      return;
    }
#ifdef CT_HAS_FUSED_SGD
    if (fusable({&p, &g, &buf})) {
      at::_fused_sgd_(p, g, buf, weight_decay, momentum, lr, /*dampening=*/0, nesterov != 0, /*maximize=*/false, first != 0 && !buf.empty());
      return;
    }
#endif
    if (weight_decay != 0) at::_foreach_add_(g, p, weight_decay);
    if (momentum != 0) {
      if (first)
        for (auto &b : buf) b.zero_();
      else
        at::_foreach_mul_(buf, momentum);
      at::_foreach_add_(buf, g);
      if (nesterov)
        at::_foreach_add_(g, buf, momentum);
      else
        g = buf;
    }
    at::_foreach_add_(p, g, -lr);
  });
}

// torch.optim.Adam's order of operations (weight decay added to the gradient); step counts from 1; g is scratch afterwards.
CT_API char *ct_adam_(const ct_tensor *pp, const ct_tensor *gp, const ct_tensor *mp, const ct_tensor *vp, int64_t n, double lr,
                      double beta1, double beta2, double eps, double weight_decay, int64_t step) {
  return guard([&] {
    c10::NoGradGuard no_grad;
    auto p = list(pp, n), g = list(gp, n), m = list(mp, n), v = list(vp, n);
    alike(p, g);
    alike(p, m);
    alike(p, v);
    const double correction1 = 1 - std::pow(beta1, static_cast<double>(step)), correction2 = 1 - std::pow(beta2, static_cast<double>(step));
    if (ours({&p, &g, &m, &v})) {
      const Adam o{float(lr / correction1), float(beta1),     float(beta2),     float(eps),
                   float(weight_decay),     float(1 - beta1), float(1 - beta2), float(std::sqrt(correction2))};
      for (size_t i = 0; i < p.size(); i++)
        kernels().adam(p[i].data_ptr<float>(), g[i].data_ptr<float>(), m[i].data_ptr<float>(), v[i].data_ptr<float>(), o, p[i].numel());
      return;
    }
#ifdef CT_HAS_FUSED_ADAM
    if (fusable({&p, &g, &m, &v})) {
      const Tensors steps(p.size(), at::full({}, static_cast<double>(step), p[0].options()));  // only read, so one does for all
      at::_fused_adam_(p, g, m, v, {}, steps, lr, beta1, beta2, weight_decay, eps, /*amsgrad=*/false, /*maximize=*/false);
      return;
    }
#endif
    if (weight_decay != 0) at::_foreach_add_(g, p, weight_decay);
    at::_foreach_mul_(m, beta1);
    at::_foreach_add_(m, g, 1 - beta1);
    at::_foreach_mul_(v, beta2);
    at::_foreach_addcmul_(v, g, g, 1 - beta2);
    auto denominator = at::_foreach_sqrt(v);
    at::_foreach_div_(denominator, std::sqrt(correction2));
    at::_foreach_add_(denominator, eps);
    at::_foreach_addcdiv_(p, m, denominator, -lr / correction1);
  });
}

CT_API char *ct_admm_grad_(const ct_tensor *gp, const ct_tensor *wp, const ct_tensor *zp, const ct_tensor *up, const double *rho,
                           int64_t n) {
  return guard([&] {
    c10::NoGradGuard no_grad;
    const auto g = list(gp, n), w = list(wp, n), z = list(zp, n), u = list(up, n);
    alike(g, w);
    alike(w, z);
    alike(w, u);
    if (ours({&g, &w, &z, &u})) {
      for (int64_t i = 0; i < n; i++)
        kernels().admm_grad(g[i].data_ptr<float>(), w[i].data_ptr<float>(), z[i].data_ptr<float>(), u[i].data_ptr<float>(), float(rho[i]), g[i].numel());
      return;
    }
    const auto gap = at::_foreach_sub(w, z);
    at::_foreach_add_(gap, u);
    if (std::all_of(rho, rho + n, [&](double r) { return r == rho[0]; })) {
      at::_foreach_add_(g, gap, rho[0]);
      return;
    }
    at::_foreach_mul_(gap, std::vector<at::Scalar>(rho, rho + n));
    at::_foreach_add_(g, gap);
  });
}

namespace {
std::vector<int64_t> sample_dims(const at::Tensor &x) {
  std::vector<int64_t> d;
  for (int64_t i = 1; i < x.dim(); i++) d.push_back(i);
  return d;
}

at::Tensor sample_norm(const at::Tensor &x) { return at::norm(x, 2, sample_dims(x), /*keepdim=*/true); }

// To the largest value first: the squares of a small gradient, as of a network that is very sure, would be 0.
at::Tensor sample_unit(const at::Tensor &x) {
  const auto size = x.abs().amax(sample_dims(x), /*keepdim=*/true).clamp_min_(std::numeric_limits<float>::min());
  const auto scaled = x.div(size);
  return scaled.div(sample_norm(scaled).add_(1e-12));
}
}  // namespace

CT_API char *ct_pgd_step_(ct_tensor xt, ct_tensor gt, ct_tensor x0t, double step, double eps, int norm, double lo, double hi) {
  return guard([&] {
    c10::NoGradGuard no_grad;
    auto &x = T(xt);
    const auto &g = T(gt), &x0 = T(x0t);
    TORCH_CHECK(norm == 0 || norm == 1, "norm must be 0 (Linf) or 1 (L2)");
    TORCH_CHECK(norm == 0 || x.dim() > 1, "L2 needs samples along the first of at least two dimensions");
    TORCH_CHECK(x.sizes() == g.sizes() && x.sizes() == x0.sizes(), "tensor ", x.sizes(), ", gradient ", g.sizes(), " and origin ",
                x0.sizes(), " differ in shape");
    if (norm == 0 && kernels_on() && plain(x) && plain(g) && plain(x0)) {
      kernels().sign_step(x.data_ptr<float>(), g.data_ptr<float>(), x0.data_ptr<float>(), step, eps, lo, hi, x.numel());
    } else if (norm == 0) {
      const auto d = at::add(x, g.sign(), step).sub_(x0).clamp_(-eps, eps).add_(x0);  // a GPU's time is in the launches
      at::clamp_out(x, d, lo, hi);
    } else {
      auto d = sample_unit(g).mul_(step).add_(x).sub_(x0);
      d.mul_(sample_norm(d).add_(1e-12).reciprocal_().mul_(eps).clamp_max_(1));
      x.copy_(d.add_(x0).clamp_(lo, hi));
    }
  });
}
