// Kernels of our own for the CPU, compiled once per instruction set: plain loops over raw memory, for what libtorch's
// own kernels are slow at. Nothing of the standard library is used in them: a template compiled for a newer processor could
// otherwise be the one the linker keeps for all.
#pragma once
#include <cstdint>

namespace ct {

struct Sgd {
  float lr, momentum, weight_decay;
  bool nesterov, first;  // buffer is absent without momentum, and not read in the first step
};
struct Adam {
  float lr, beta1, beta2, eps, weight_decay, rest1, rest2;  // rest: 1 - beta
  float root2;                                              // sqrt(1 - beta2^step), and lr has been divided by 1 - beta1^step
};

struct Kernels {
  int width;  // floats in a vector

  // out[o * out_pitch + i] = bias[o] + sum over t of w[t * outs + o] * x[off[t] + i], for i in [0, n), at most flat_outs outputs at
  // once. Without bias the sums are added to what out holds. Reads x and writes out up to the next multiple of width past n.
  void (*flat)(const float *x, const int32_t *off, const float *w, int64_t terms, int64_t outs, int64_t n, const float *bias, float *out,
               int64_t out_pitch);
  // sums[(o * terms + t) * width ...] += g[o * g_pitch + i] * x[off[t] + i], for i in [0, n), n a multiple of width, and that for each of
  // a number of images, which follow at x_step and g_step: partial sums, a vector for each weight.
  void (*flat_grad)(const float *x, int64_t x_step, const int32_t *off, const float *g, int64_t g_step, int64_t g_pitch, int64_t images,
                    int64_t terms, int64_t outs, int64_t n, float *sums);
  // rows of n floats from src to dst.
  void (*copy)(const float *src, int64_t src_pitch, float *dst, int64_t dst_pitch, int64_t rows, int64_t n);
  // copy, but 0 where y, laid out as src, is not above 0: the gradient of a ReLU whose result is y.
  void (*copy_where)(const float *src, const float *y, int64_t src_pitch, float *dst, int64_t dst_pitch, int64_t rows, int64_t n);
  // x[i] = max(x[i], 0), n values; a NaN stays.
  void (*relu)(float *x, int64_t n);
  // y[i] = max(a[i] + b[i], 0), n values; a NaN stays.
  void (*add_relu)(const float *a, const float *b, float *y, int64_t n);
  // y[i] += x[i], n values.
  void (*add)(const float *x, float *y, int64_t n);
  // even[i] = x[2i], odd[i] = x[2i+1], n of each, and the reverse.
  void (*split)(const float *x, float *even, float *odd, int64_t n);
  void (*join)(const float *even, const float *odd, float *x, int64_t n);
  // y [h/2, w/2] is the maximum of each 2x2 window of x [h, w]; rows and columns left over are not looked at.
  void (*pool)(const float *x, int64_t h, int64_t w, float *y);
  // gx [h, w] gets gy where its window's maximum is, at the first place of equals (or a NaN), and 0 elsewhere.
  void (*pool_grad)(const float *x, const float *y, const float *gy, int64_t h, int64_t w, float *gx);
  // x = clamp(x0 + clamp(x + step * sign(g) - x0, -eps, eps), lo, hi), n values.
  void (*sign_step)(float *x, const float *g, const float *x0, float step, float eps, float lo, float hi, int64_t n);
  // One step of SGD, of Adam, and an ADMM penalty's gradient, n values, in one pass each: see optim.cc.
  void (*sgd)(float *p, const float *g, float *buffer, const Sgd &o, int64_t n);
  void (*adam)(float *p, const float *g, float *m, float *v, const Adam &o, int64_t n);
  void (*admm_grad)(float *g, const float *w, const float *z, const float *u, float rho, int64_t n);
};

constexpr int64_t flat_outs = 8;

// The best kernels for this processor, unless ct_set_kernels chose others; and whether they are to be used.
const Kernels &kernels();
bool kernels_on();

}  // namespace ct
