// What direct.cc and rows.cc share.
#pragma once
#include <cstring>
#include <memory>
#include <vector>

#include "direct.h"
#include "kernels.h"

namespace ct {

// Memory that a thread uses again and again.
struct Scratch {
  std::unique_ptr<float[]> data;
  size_t size = 0;
  float *get(int64_t n) {
    if (static_cast<size_t>(n) > size) {
      data.reset(new float[n]);
      size = n;
    }
    return data.get();
  }
  float *zeros(int64_t n) {
    std::memset(get(n), 0, n * sizeof(float));
    return data.get();
  }
};
constexpr int64_t over = 64;  // floats that a kernel may touch behind what it was asked for

struct Shape {
  int64_t n, c, h, w, o, kh, kw, oh, ow, s, p;
  Shape(const at::Tensor &x, const at::Tensor &wt, const Conv &k)
      : n(x.size(0)), c(x.size(1)), h(x.size(2)), w(x.size(3)), o(wt.size(0)), kh(wt.size(2)), kw(wt.size(3)),
        oh((h + 2 * k.padding - kh) / k.stride + 1), ow((w + 2 * k.padding - kw) / k.stride + 1), s(k.stride), p(k.padding) {}
};

// Outputs in blocks of at most so many, as even as can be.
struct Blocks {
  int64_t outs, size;
  explicit Blocks(int64_t outs, int64_t most = flat_outs) : outs(outs) {
    const int64_t count = (outs + most - 1) / most;
    size = (outs + count - 1) / count;
  }
};

constexpr int64_t row_outs = 6;  // with four vectors beside them they fill the registers

}  // namespace ct
