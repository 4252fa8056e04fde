#include "direct.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "direct_parts.h"
#include "kernels.h"
#include "shim.h"

namespace ct {
namespace {

thread_local Scratch image, padded, flat, weights, sums;

// Planes that tell how an image of channels [h, w] lies in memory: with p zeros round it, split by the stride's phases.
struct Layout {
  int64_t channels, h, w, p, s, rows, pitch, plane;
  Layout(int64_t channels, int64_t h, int64_t w, int64_t p, int64_t s)
      : channels(channels), h(h), w(w), p(p), s(s), rows((h + 2 * p + s - 1) / s), pitch((w + 2 * p + s - 1) / s), plane(rows * pitch) {}
  int64_t size() const { return channels * s * s * plane + over; }
  // Where output (0, 0) finds its input at row a, column b of the kernel.
  int32_t offset(int64_t channel, int64_t a, int64_t b) const {
    const int64_t phase = (a % s) * s + b % s;
    return static_cast<int32_t>((channel * s * s + phase) * plane + (a / s) * pitch + b / s);
  }
  // Lays x [channels, h, w] out at to, whose borders are zero already; where y is given, only where y is above 0.
  void put(const Kernels &k, const float *x, const float *y, float *to) const {
    if (s == 1) {
      for (int64_t c = 0; c < channels; c++) row(k, x + c * h * w, y == nullptr ? nullptr : y + c * h * w, to + c * plane + p * pitch + p, h);
      return;
    }
    const int64_t width = pitch * s;  // of a row before it is split
    float *line = image.zeros(width + over);
    for (int64_t c = 0; c < channels; c++)
      for (int64_t r = 0; r < h; r++) {
        k.copy(x + (c * h + r) * w, w, line + p, width, 1, w);
        float *even = to + (c * s * s + ((r + p) % s) * s) * plane + ((r + p) / s) * pitch;
        k.split(line, even, even + plane, pitch);
      }
  }
  void row(const Kernels &k, const float *x, const float *y, float *to, int64_t count) const {
    if (y == nullptr)
      k.copy(x, w, to, pitch, count, w);
    else
      k.copy_where(x, y, w, to, pitch, count, w);
  }
};

// A set of terms of one correlation: for each input channel and place of the kernel, where it reads and which weight it takes.
struct Terms {
  std::vector<int32_t> offsets;
  std::vector<int64_t> at;  // in a block of weights [in][kh][kw] of one output
};

// Weights of all outputs, in blocks: [block][term][output]. stride is the distance of two outputs' weights in w.
const float *pack(const float *w, const Terms &t, Blocks b, int64_t stride, float *to) {
  float *out = to;
  for (int64_t o = 0; o < b.outs; o += b.size)
    for (int64_t at : t.at)
      for (int64_t i = o; i < std::min(o + b.size, b.outs); i++) *out++ = w[i * stride + at];
  return to;
}

// Planes for a small image without padding: one for each channel and place of the kernel, of just what the outputs need of it. They are
// more to copy, and leave nothing to compute at the rows' ends, which may be half as much again as the rest.
struct Columns {
  int64_t plane, size;
  bool better;
  explicit Columns(const Shape &s)
      : plane((s.oh * s.ow + 15) / 16 * 16), size(s.c * s.kh * s.kw * plane + over),
        better(s.s == 1 && s.p == 0 && 4 * (s.w - s.ow) > s.w && s.o >= 32 && s.c * s.kh * s.kw * plane < (1 << 17)) {}
  void put(const Kernels &k, const Shape &s, const float *x, float *to) const {
    for (int64_t c = 0; c < s.c; c++)
      for (int64_t a = 0; a < s.kh; a++)
        for (int64_t e = 0; e < s.kw; e++, to += plane) k.copy(x + (c * s.h + a) * s.w + e, s.w, to, s.ow, s.oh, s.ow);
  }
};

// The correlation of one image for all outputs, into out [outs, h, w].
void correlate(const Kernels &k, const float *x, const Terms &t, const float *w, const float *bias, Blocks b, int64_t pitch, int64_t oh,
               int64_t ow, bool relu, float *out) {
  const int64_t n = (oh - 1) * pitch + ow, row = oh * pitch + over, terms = static_cast<int64_t>(t.at.size());
  float *to = flat.get(b.size * row);
  for (int64_t o = 0; o < b.outs; o += b.size) {
    const int64_t count = std::min(b.size, b.outs - o);
    k.flat(x, t.offsets.data(), w + o * terms, terms, count, n, bias + o, to, row);
    for (int64_t i = 0; i < count; i++) k.copy(to + i * row, pitch, out + (o + i) * oh * ow, ow, oh, ow);
  }
  if (relu) k.relu(out, b.outs * oh * ow);
}

}  // namespace

Direct direct_choice(const at::Tensor &x, const at::Tensor &w, const at::Tensor &bias, const Conv &c) {
  if (!kernels_on() || !x.device().is_cpu() || x.scalar_type() != at::kFloat || w.scalar_type() != at::kFloat || x.dim() != 4 || w.dim() != 4 ||
      x.size(1) != w.size(1) || x.numel() == 0 || w.numel() == 0 || c.stride < 1 || c.stride > 2 || c.padding < 0 || c.padding >= w.size(2) ||
      c.padding >= w.size(3) || x.size(2) + 2 * c.padding < w.size(2) || x.size(3) + 2 * c.padding < w.size(3) || at::get_num_threads() != 1)
    return {};
  if (bias.defined() && (bias.scalar_type() != at::kFloat || bias.dim() != 1 || bias.size(0) != w.size(0))) return {};
  const int64_t wide = 2 * (c.padding + w.size(2) + w.size(3)), plane = (x.size(2) + wide) * (x.size(3) + wide);  // no less than any layout's
  if (std::max(w.size(0), w.size(1)) * plane > std::numeric_limits<int32_t>::max() / 4) return {};             // offsets are 32 bits
  if (onednn_distrusted()) return {by_flat, by_flat, by_flat};  // what libtorch has beside it is slower than these
  const int64_t in = w.size(1), out = w.size(0), lost = 4 * (w.size(3) - 1 - c.padding);  // of a row, at its ends
  const bool odd = in % 16 != 0 || out % 16 != 0, ends = c.stride == 1 && c.padding == 0 && lost > x.size(3) && out >= 16;
  return {in < 8 || out < 16 || out % 16 != 0 ? by_flat : by_libtorch,
          in < 16 || c.stride == 2 || (odd && !ends) ? by_flat : odd ? by_rows : by_libtorch, in >= 16 && !odd ? by_libtorch : ends ? by_rows : by_flat};
}

at::Tensor direct_forward(const at::Tensor &xt, const at::Tensor &wt, const at::Tensor &bias, const Conv &c) {
  const Kernels &k = kernels();
  const Shape s(xt, wt, c);
  const auto x = xt.contiguous(), w = wt.contiguous(), b = bias.defined() ? bias.contiguous() : at::zeros({s.o});
  auto y = at::empty({s.n, s.o, s.oh, s.ow}, x.options());
  const Layout in(s.c, s.h, s.w, s.p, s.s);
  const Columns columns(s);
  Terms t;
  for (int64_t i = 0; i < s.c; i++)
    for (int64_t a = 0; a < s.kh; a++)
      for (int64_t e = 0; e < s.kw; e++) {
        t.offsets.push_back(columns.better ? static_cast<int32_t>(t.at.size() * columns.plane) : in.offset(i, a, e));
        t.at.push_back((i * s.kh + a) * s.kw + e);
      }
  const int64_t each = s.c * s.kh * s.kw;
  const Blocks blocks(s.o, columns.better ? row_outs : flat_outs);
  const float *packed = pack(w.data_ptr<float>(), t, blocks, each, weights.get(s.o * each));
  float *to = padded.zeros(columns.better ? columns.size : in.size());
  for (int64_t i = 0; i < s.n; i++) {
    const float *image = x.data_ptr<float>() + i * s.c * s.h * s.w;
    if (columns.better)
      columns.put(k, s, image, to);
    else
      in.put(k, image, nullptr, to);
    correlate(k, to, t, packed, b.data_ptr<float>(), blocks, columns.better ? s.ow : in.pitch, s.oh, s.ow, c.relu, y.data_ptr<float>() + i * s.o * s.oh * s.ow);
  }
  return y;
}

namespace {
// The part of an input's gradient that one phase of the rows and columns makes. With stride 1 there is one, and the gradient is the
// correlation of g with the kernel turned round. With stride 2 every second row and column has a correlation of its own, with the
// places of the kernel that reach it.
struct Phase {
  int64_t row, col, rows, cols;  // the first row and column of the input, and how many there are
  int64_t r, c;                  // where the first row and column lie among the phase's own, the padding among them
  Terms terms;
  const float *weights = nullptr;
};

std::vector<Phase> phases_of(const Shape &s) {
  std::vector<Phase> out;
  for (int64_t a = 0; a < s.s; a++)
    for (int64_t e = 0; e < s.s; e++) {
      Phase q;
      q.row = ((a - s.p) % s.s + s.s) % s.s;
      q.col = ((e - s.p) % s.s + s.s) % s.s;
      q.rows = (s.h - q.row + s.s - 1) / s.s;
      q.cols = (s.w - q.col + s.s - 1) / s.s;
      q.r = (q.row + s.p) / s.s;
      q.c = (q.col + s.p) / s.s;
      if (a < s.kh && e < s.kw) out.push_back(q);  // no place of the kernel reaches the others
    }
  return out;
}

// How many zeros g needs round it so that no phase reads outside.
int64_t border_of(const Shape &s, const std::vector<Phase> &phases) {
  int64_t border = 0;
  for (const auto &q : phases) {
    const int64_t up = (s.kh - 1 - (q.row + s.p) % s.s) / s.s - q.r, left = (s.kw - 1 - (q.col + s.p) % s.s) / s.s - q.c;
    border = std::max({border, up, left, q.r + q.rows - s.oh, q.c + q.cols - s.ow});
  }
  return border;
}

void fill_terms(const Shape &s, const Layout &g, const float *w, std::vector<Phase> &phases) {
  const int64_t each = s.kh * s.kw;
  float *room = weights.get(s.o * s.c * each);
  for (auto &q : phases) {
    for (int64_t o = 0; o < s.o; o++)
      for (int64_t u = (q.row + s.p) % s.s; u < s.kh; u += s.s)
        for (int64_t v = (q.col + s.p) % s.s; v < s.kw; v += s.s) {
          q.terms.offsets.push_back(static_cast<int32_t>(o * g.plane + (q.r - u / s.s + g.p) * g.pitch + q.c - v / s.s + g.p));
          q.terms.at.push_back(o * s.c * each + u * s.kw + v);
        }
    q.weights = pack(w, q.terms, Blocks(s.c), each, room);
    room += s.c * static_cast<int64_t>(q.terms.at.size());
  }
}

// Puts the phases' rows and columns in their places; what no phase makes is zero.
void interleave(const Kernels &k, const Shape &s, const std::vector<Phase> &phases, const float *parts, int64_t part, float *gx) {
  const int64_t half = (s.w + 1) / 2;
  float *even = flat.get(2 * (half + over)), *odd = even + half + over;
  for (int64_t c = 0; c < s.c; c++)
    for (int64_t r = 0; r < s.h; r++) {
      std::memset(even, 0, 2 * (half + over) * sizeof(float));
      for (size_t i = 0; i < phases.size(); i++) {
        const auto &q = phases[i];
        if ((r - q.row) % 2 == 0) k.copy(parts + i * part + (c * q.rows + r / 2) * q.cols, q.cols, q.col == 0 ? even : odd, q.cols, 1, q.cols);
      }
      float *to = gx + (c * s.h + r) * s.w;
      k.join(even, odd, to, s.w / 2);
      if (s.w % 2 != 0) to[s.w - 1] = even[s.w / 2];
    }
}
}  // namespace

at::Tensor direct_input_grad(const at::Tensor &gt, const at::Tensor &yt, const at::Tensor &xt, const at::Tensor &wt, const Conv &c) {
  const Kernels &k = kernels();
  const Shape s(xt, wt, c);
  const auto g = gt.contiguous(), w = wt.contiguous(), none = at::zeros({s.c});
  const float *y = c.relu ? yt.data_ptr<float>() : nullptr, *zero = none.data_ptr<float>();
  auto gx = at::empty(xt.sizes(), g.options());
  auto phases = phases_of(s);
  const Layout in(s.o, s.oh, s.ow, border_of(s, phases), 1);
  fill_terms(s, in, w.data_ptr<float>(), phases);
  float *to = padded.zeros(in.size());
  const int64_t part = s.c * ((s.h + 1) / 2) * ((s.w + 1) / 2);
  float *parts = s.s == 1 ? nullptr : sums.get(static_cast<int64_t>(phases.size()) * part);
  for (int64_t i = 0; i < s.n; i++) {
    const int64_t from = i * s.o * s.oh * s.ow;
    in.put(k, g.data_ptr<float>() + from, y == nullptr ? nullptr : y + from, to);
    float *out = gx.data_ptr<float>() + i * s.c * s.h * s.w;
    for (size_t j = 0; j < phases.size(); j++) {
      const auto &q = phases[j];
      correlate(k, to, q.terms, q.weights, zero, Blocks(s.c), in.pitch, q.rows, q.cols, false, s.s == 1 ? out : parts + j * part);
    }
    if (s.s != 1) interleave(k, s, phases, parts, part, out);
  }
  return gx;
}

at::Tensor direct_weight_grad(const at::Tensor &gt, const at::Tensor &yt, const at::Tensor &xt, const at::Tensor &wt, const Conv &c) {
  const Kernels &k = kernels();
  const Shape s(xt, wt, c);
  const auto g = gt.contiguous(), x = xt.contiguous();
  const float *y = c.relu ? yt.data_ptr<float>() : nullptr;
  const Layout in(s.c, s.h, s.w, s.p, s.s);
  std::vector<int32_t> offsets;
  for (int64_t i = 0; i < s.c; i++)
    for (int64_t a = 0; a < s.kh; a++)
      for (int64_t e = 0; e < s.kw; e++) offsets.push_back(in.offset(i, a, e));
  const int64_t terms = static_cast<int64_t>(offsets.size()), row = s.oh * in.pitch + over;
  const int64_t n = (s.oh * in.pitch + k.width - 1) / k.width * k.width;  // zeros behind the rows' ends add nothing
  // As many images at once as a processor's second cache holds, for all weights: each sum is then read and written once for all.
  const int64_t x_step = in.size() + in.pitch, g_step = s.o * row, count = std::clamp<int64_t>((1 << 16) / (x_step + g_step), 1, s.n);
  float *sum = sums.zeros(s.o * terms * k.width), *to = padded.zeros(count * x_step), *gs = flat.zeros(count * g_step);
  for (int64_t first = 0; first < s.n; first += count) {
    const int64_t images = std::min(count, s.n - first);
    for (int64_t i = 0; i < images; i++) {
      in.put(k, x.data_ptr<float>() + (first + i) * s.c * s.h * s.w, nullptr, to + i * x_step);
      for (int64_t o = 0; o < s.o; o++) {
        const int64_t from = ((first + i) * s.o + o) * s.oh * s.ow;
        float *line = gs + i * g_step + o * row;
        if (y == nullptr)
          k.copy(g.data_ptr<float>() + from, s.ow, line, in.pitch, s.oh, s.ow);
        else
          k.copy_where(g.data_ptr<float>() + from, y + from, s.ow, line, in.pitch, s.oh, s.ow);
      }
    }
    k.flat_grad(to, x_step, offsets.data(), gs, g_step, row, images, terms, s.o, n, sum);
  }
  auto gw = at::empty(wt.sizes(), g.options());
  float *out = gw.data_ptr<float>();
  for (int64_t i = 0; i < s.o * terms; i++) {
    float total = 0;
    for (int v = 0; v < k.width; v++) total += sum[i * k.width + v];
    out[i] = total;
  }
  return gw;
}

}  // namespace ct
