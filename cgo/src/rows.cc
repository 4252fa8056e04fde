// A convolution's gradients by rows of a channels-last image: what a row of the kernel reads at a position is contiguous there, its
// columns and channels together. So a vector is full wherever kw * channels fills it, and neither borders nor row ends are computed.
#include <algorithm>
#include <cstring>

#include "direct.h"
#include "direct_parts.h"
#include "kernels.h"

namespace ct {
namespace {
thread_local Scratch images, grads, kernel, tile;

// How the images lie: [n][h + 2p][w + 2p][c].
struct Rows {
  Shape s;
  int64_t w, size, length;  // of a padded row in positions, of an image, of a kernel's row in floats
  explicit Rows(const Shape &s) : s(s), w(s.w + 2 * s.p), size((s.h + 2 * s.p) * w * s.c), length(s.kw * s.c) {}
  int64_t position(int64_t i) const { return ((i / s.ow) * s.s * w + (i % s.ow) * s.s) * s.c; }  // of output i
  float *pixel(float *image, int64_t r) const { return image + ((r + s.p) * w + s.p) * s.c; }    // the first of row r
};

// One image, channels last, into zeros.
void channels_last(const Rows &q, const float *x, float *to) {
  for (int64_t c = 0; c < q.s.c; c++)
    for (int64_t r = 0; r < q.s.h; r++) {
      const float *from = x + (c * q.s.h + r) * q.s.w;
      float *at = q.pixel(to, r) + c;
      for (int64_t i = 0; i < q.s.w; i++) at[i * q.s.c] = from[i];
    }
}

void channels_first(const Rows &q, float *x, float *to) {
  for (int64_t c = 0; c < q.s.c; c++)
    for (int64_t r = 0; r < q.s.h; r++) {
      const float *at = q.pixel(x, r) + c;
      float *out = to + (c * q.s.h + r) * q.s.w;
      for (int64_t i = 0; i < q.s.w; i++) out[i] = at[i * q.s.c];
    }
}

// A gradient that has passed the ReLU, if there is one.
struct Past {
  const float *g, *y;
  float at(int64_t i) const { return y == nullptr || y[i] > 0 ? g[i] : 0; }
};
}  // namespace

at::Tensor rows_weight_grad(const at::Tensor &gt, const at::Tensor &yt, const at::Tensor &xt, const at::Tensor &wt, const Conv &c) {
  const Kernels &k = kernels();
  const Shape s(xt, wt, c);
  const Rows q(s);
  const auto g = gt.contiguous(), x = xt.contiguous();
  auto gw = at::zeros(wt.sizes(), g.options());
  const Past past{g.data_ptr<float>(), c.relu ? yt.data_ptr<float>() : nullptr};
  const Blocks b(s.o, row_outs);
  const int64_t positions = s.oh * s.ow, count = std::clamp<int64_t>((1 << 17) / q.size, 1, s.n), pitch = q.length + over;
  float *to = images.zeros(count * q.size + over), *gs = grads.get(b.size * count * positions), *out = tile.get(b.size * pitch);
  const float zero[flat_outs] = {};
  std::vector<int32_t> offsets;
  for (int64_t i = 0; i < count * positions; i++) offsets.push_back(static_cast<int32_t>(i / positions * q.size + q.position(i % positions)));
  for (int64_t first = 0; first < s.n; first += count) {
    const int64_t now = std::min(count, s.n - first);
    for (int64_t i = 0; i < now; i++) channels_last(q, x.data_ptr<float>() + (first + i) * s.c * s.h * s.w, to + i * q.size);
    for (int64_t o = 0; o < s.o; o += b.size) {
      const int64_t outs = std::min(b.size, s.o - o);
      for (int64_t i = 0; i < now; i++)
        for (int64_t j = 0; j < outs; j++) {
          const int64_t from = ((first + i) * s.o + o + j) * positions;
          for (int64_t e = 0; e < positions; e++) gs[(i * positions + e) * outs + j] = past.at(from + e);
        }
      for (int64_t a = 0; a < s.kh; a++) {
        k.flat(to + a * q.w * s.c, offsets.data(), gs, now * positions, outs, q.length, zero, out, pitch);
        for (int64_t j = 0; j < outs; j++) {
          float *sum = gw.data_ptr<float>() + ((o + j) * s.c * s.kh + a) * s.kw;
          for (int64_t i = 0; i < s.c; i++)
            for (int64_t e = 0; e < s.kw; e++) sum[i * s.kh * s.kw + e] += out[j * pitch + e * s.c + i];
        }
      }
    }
  }
  return gw;
}

at::Tensor rows_input_grad(const at::Tensor &gt, const at::Tensor &yt, const at::Tensor &xt, const at::Tensor &wt, const Conv &c) {
  const Kernels &k = kernels();
  const Shape s(xt, wt, c);
  const Rows q(s);
  const auto g = gt.contiguous(), w = wt.contiguous();
  auto gx = at::empty(xt.sizes(), g.options());
  const int64_t positions = s.oh * s.ow, pitch = q.length + over;
  const Blocks b(positions, row_outs);
  float *ws = kernel.get(s.kh * s.o * q.length + over), *gs = grads.get(s.o * positions), *to = images.get(q.size), *out = tile.get(b.size * pitch);
  const float *weight = w.data_ptr<float>();
  std::vector<int32_t> offsets;
  for (int64_t o = 0; o < s.o; o++) {
    offsets.push_back(static_cast<int32_t>(o * q.length));
    for (int64_t i = 0; i < s.c; i++)
      for (int64_t a = 0; a < s.kh; a++)
        for (int64_t e = 0; e < s.kw; e++)
          ws[(a * s.o + o) * q.length + e * s.c + i] = weight[((o * s.c + i) * s.kh + a) * s.kw + e];
  }
  const float zero[flat_outs] = {};
  for (int64_t n = 0; n < s.n; n++) {
    const int64_t from = n * s.o * positions;
    const Past past{g.data_ptr<float>() + from, c.relu ? yt.data_ptr<float>() + from : nullptr};
    for (int64_t o = 0; o < s.o; o++)
      for (int64_t i = 0; i < positions; i += b.size) {
        const int64_t outs = std::min(b.size, positions - i);
        for (int64_t j = 0; j < outs; j++) gs[i * s.o + o * outs + j] = past.at(o * positions + i + j);
      }
    std::memset(to, 0, q.size * sizeof(float));
    for (int64_t a = 0; a < s.kh; a++)
      for (int64_t i = 0; i < positions; i += b.size) {
        const int64_t outs = std::min(b.size, positions - i);
        k.flat(ws + a * s.o * q.length, offsets.data(), gs + i * s.o, s.o, outs, q.length, zero, out, pitch);
        for (int64_t j = 0; j < outs; j++) k.add(out + j * pitch, to + a * q.w * s.c + q.position(i + j), q.length);
      }
    channels_first(q, to, gx.data_ptr<float>() + n * s.c * s.h * s.w);
  }
  return gx;
}
}  // namespace ct
