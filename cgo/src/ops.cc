// Element-wise operations and reductions.
#include <cmath>

#include "shim.h"

using namespace ct;

CT_API char *ct_unary(int op, ct_tensor t, ct_tensor *out) {
  return give(out, [&]() -> at::Tensor {
    const auto &x = T(t);
    switch (op) {
      case CT_RELU: return x.relu();
      case CT_SIGMOID: return x.sigmoid();
      case CT_TANH: return x.tanh();
      case CT_EXP: return x.exp();
      case CT_LOG: return x.log();
      case CT_SQRT: return x.sqrt();
      case CT_ABS: return x.abs();
      case CT_SIGN: return x.sign();
      case CT_NEG: return x.neg();
      case CT_SQUARE: return x.square();
      case CT_FLOOR: return x.floor();
      case CT_ROUND: return x.round();
      case CT_ISFINITE: return x.isfinite();
      case CT_LOGICAL_NOT: return x.logical_not();
      case CT_FLIP_HW: return x.flip({-2, -1});
      case CT_HARDSIGMOID: return at::hardsigmoid(x);
      case CT_HARDSWISH: return at::hardswish(x);
    }
    TORCH_CHECK(false, "unknown unary op ", op);
  });
}

CT_API char *ct_binary(int op, ct_tensor at_, ct_tensor bt, ct_tensor *out) {
  return give(out, [&]() -> at::Tensor {
    const auto &a = T(at_), &b = T(bt);
    switch (op) {
      case CT_ADD: return a.add(b);
      case CT_SUB: return a.sub(b);
      case CT_MUL: return a.mul(b);
      case CT_DIV: return a.div(b);
      case CT_MAXIMUM: return at::maximum(a, b);
      case CT_MINIMUM: return at::minimum(a, b);
      case CT_EQ: return a.eq(b);
      case CT_NE: return a.ne(b);
      case CT_LT: return a.lt(b);
      case CT_LE: return a.le(b);
      case CT_GT: return a.gt(b);
      case CT_GE: return a.ge(b);
      case CT_MATMUL: return a.matmul(b);
      case CT_AND: return a.logical_and(b);
    }
    TORCH_CHECK(false, "unknown binary op ", op);
  });
}

CT_API char *ct_scalar(int op, ct_tensor at_, double b, ct_tensor *out) {
  return give(out, [&]() -> at::Tensor {
    const auto &a = T(at_);
    switch (op) {
      case CT_ADD: return a.add(b);
      case CT_SUB: return a.sub(b);
      case CT_MUL: return a.mul(b);
      case CT_DIV: return a.div(b);
      case CT_MAXIMUM: return a.clamp_min(b);
      case CT_MINIMUM: return a.clamp_max(b);
      case CT_EQ: return a.eq(b);
      case CT_NE: return a.ne(b);
      case CT_LT: return a.lt(b);
      case CT_LE: return a.le(b);
      case CT_GT: return a.gt(b);
      case CT_GE: return a.ge(b);
    }
    TORCH_CHECK(false, "unknown scalar op ", op);
  });
}

CT_API char *ct_binary_(int op, ct_tensor at_, ct_tensor bt, double alpha) {
  return guard([&] {
    auto &a = T(at_);
    const auto &b = T(bt);
    switch (op) {
      case CT_ADD_: a.add_(b, alpha); return;
      case CT_MUL_: a.mul_(b); return;
      case CT_DIV_: a.div_(b); return;
      case CT_COPY_: a.copy_(b); return;
    }
    TORCH_CHECK(false, "unknown in-place op ", op);
  });
}

CT_API char *ct_scalar_(int op, ct_tensor at_, double number) {
  return guard([&] {
    auto &a = T(at_);
    at::Scalar v = number;
    // Whole numbers keep an integer tensor's type; others are for libtorch to refuse.
    if (at::isIntegralType(a.scalar_type(), /*includeBool=*/false) && std::abs(number) < 0x1p63 && number == std::trunc(number))
      v = static_cast<int64_t>(number);
    switch (op) {
      case CT_FILL_: a.fill_(v); return;
      case CT_SCALE_: a.mul_(v); return;
      case CT_SHIFT_: a.add_(v); return;
    }
    TORCH_CHECK(false, "unknown in-place op ", op);
  });
}

CT_API char *ct_clamp(ct_tensor t, double lo, double hi, ct_tensor *out) {
  return give(out, [&] { return T(t).clamp(lo, hi); });
}
CT_API char *ct_clamp_(ct_tensor t, double lo, double hi) {
  return guard([&] { T(t).clamp_(lo, hi); });
}
CT_API char *ct_softmax(ct_tensor t, int64_t dim, int log, ct_tensor *out) {
  return give(out, [&] {
    const auto x = unreduced(T(t));
    return log ? x.log_softmax(dim) : x.softmax(dim);
  });
}

CT_API char *ct_reduce(int op, ct_tensor t, const int64_t *dp, int64_t n, int keepdim, ct_tensor *out) {
  return give(out, [&]() -> at::Tensor {
    const auto &x = T(t);
    std::vector<int64_t> d(dp, dp + n);
    if (n == 0)
      for (int64_t i = 0; i < x.dim(); i++) d.push_back(i);
    const bool keep = keepdim != 0;
    switch (op) {
      case CT_SUM: return x.sum(d, keep);
      case CT_MEAN: return x.mean(d, keep);
      case CT_AMAX: return x.amax(d, keep);
      case CT_AMIN: return x.amin(d, keep);
      case CT_NORM2: return at::norm(x, 2, d, keep);
      case CT_COUNT_NONZERO: return at::count_nonzero(x, d);
      case CT_ALL: return x.all();
      case CT_ANY: return x.any();
    }
    TORCH_CHECK(false, "unknown reduction ", op);
  });
}

CT_API char *ct_argmax(ct_tensor t, int64_t dim, ct_tensor *out) {
  return give(out, [&] { return T(t).argmax(dim); });
}

namespace {
template <class F>
char *give2(ct_tensor *a, ct_tensor *b, F &&f) noexcept {
  return guard([&] {
    auto r = f();
    at::Tensor both[] = {std::move(std::get<0>(r)), std::move(std::get<1>(r))};
    ct_tensor out[2];
    box(both, 2, out);
    *a = out[0];
    *b = out[1];
  });
}
}  // namespace

CT_API char *ct_kthvalue(ct_tensor t, int64_t k, int64_t dim, ct_tensor *values, ct_tensor *indices) {
  return give2(values, indices, [&] { return T(t).kthvalue(k, dim); });
}
CT_API char *ct_topk(ct_tensor t, int64_t k, int64_t dim, int largest, ct_tensor *values, ct_tensor *indices) {
  return give2(values, indices, [&] { return T(t).topk(k, dim, largest != 0); });
}
CT_API char *ct_sort(ct_tensor t, int64_t dim, int descending, ct_tensor *values, ct_tensor *indices) {
  return give2(values, indices, [&] { return T(t).sort(/*stable=*/true, dim, descending != 0); });
}
