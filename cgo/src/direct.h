// Direct convolution on the CPU, in float32 and row-major order, over the kernels of kernels.h.
//
// An image is laid out with its borders of zeros, each row directly behind the one before it. Then the value of an output at a
// position is the sum, over input channels and places of the kernel, of a weight times the input at that position plus an offset,
// whatever the row: a correlation in one dimension, without any edge. What it computes between the rows' ends is thrown away.
// A stride of 2 splits the image into its even and odd rows and columns first, and is then the same.
#pragma once
#include <ATen/ATen.h>

namespace ct {

struct Conv {
  int64_t stride, padding;
  bool relu;  // the result is max(0, convolution)
};

// Which of the three functions below are to take a convolution. oneDNN works on blocks of 16 channels: from there on it is near
// the processor's own rate, and far from it below, with odd numbers of channels, and in the input gradient at stride 2. The limits
// were measured against oneDNN 2.6, see docs/performance.md.
enum By { by_libtorch, by_flat, by_rows };
struct Direct {
  By forward = by_libtorch, input = by_libtorch, weight = by_libtorch;
};
// bias may be undefined.
Direct direct_choice(const at::Tensor &x, const at::Tensor &w, const at::Tensor &bias, const Conv &c);

at::Tensor direct_forward(const at::Tensor &x, const at::Tensor &w, const at::Tensor &bias, const Conv &c);
// g is the loss's gradient for the result, y the result where c.relu.
at::Tensor direct_input_grad(const at::Tensor &g, const at::Tensor &y, const at::Tensor &x, const at::Tensor &w, const Conv &c);
at::Tensor direct_weight_grad(const at::Tensor &g, const at::Tensor &y, const at::Tensor &x, const at::Tensor &w, const Conv &c);
// The same gradients, by rows of a channels-last image: see rows.cc.
at::Tensor rows_input_grad(const at::Tensor &g, const at::Tensor &y, const at::Tensor &x, const at::Tensor &w, const Conv &c);
at::Tensor rows_weight_grad(const at::Tensor &g, const at::Tensor &y, const at::Tensor &x, const at::Tensor &w, const Conv &c);

}  // namespace ct
