// Which elements have the least magnitudes: what a projection onto sparse weights asks.
#include <algorithm>
#include <array>
#include <limits>

#include "shim.h"

using namespace ct;

namespace {
// A float's magnitude as bits that order alike. A NaN is above all numbers.
inline uint32_t magnitude(float v) {
  uint32_t b;
  std::memcpy(&b, &v, sizeof b);
  return b & 0x7fffffffu;
}

struct Limit {
  uint32_t bits;  // the k-th smallest magnitude
  int64_t equal;  // how many of those that equal it are among the k, in order
  bool all;       // that is all of them
};

constexpr int shift = 20;  // leaves the exponent and three bits more: 2048 bins

// Counts by the leading bits, then orders only the bin that the k-th falls into.
Limit limit_of(const float *x, int64_t n, int64_t k) {
  std::array<std::array<int32_t, 1 << (31 - shift)>, 4> count{};  // four, so that equal neighbours do not wait for each other
  int64_t i = 0;
  for (; i + 4 <= n; i += 4)
    for (int j = 0; j < 4; j++) count[j][magnitude(x[i + j]) >> shift]++;
  for (; i < n; i++) count[0][magnitude(x[i]) >> shift]++;
  int64_t below = 0;
  uint32_t bin = 0;
  for (;; bin++) {
    const int64_t here = static_cast<int64_t>(count[0][bin]) + count[1][bin] + count[2][bin] + count[3][bin];
    if (below + here >= k) break;
    below += here;
  }
  std::vector<uint32_t> in;
  for (i = 0; i < n; i++)
    if (magnitude(x[i]) >> shift == bin) in.push_back(magnitude(x[i]));
  const auto kth = in.begin() + (k - below - 1);
  std::nth_element(in.begin(), kth, in.end());
  const uint32_t bits = *kth;
  int64_t less = 0, equal = 0;
  for (uint32_t b : in) less += b < bits, equal += b == bits;
  const int64_t wanted = k - below - less;
  return {bits, wanted, wanted == equal};
}

void mark(const float *x, int64_t n, const Limit &l, float *mask) {
  for (int64_t i = 0; i < n; i++) mask[i] = magnitude(x[i]) > l.bits ? 1.0f : 0.0f;
  if (l.all) return;
  int64_t left = l.equal;
  for (int64_t i = 0; i < n; i++)
    if (magnitude(x[i]) == l.bits && left-- <= 0) mask[i] = 1;
}

// The k-th smallest of v [n]. A GPU sorts, since its selection is refused where deterministic kernels are asked for: of equal
// elements it names any one's place, which is not needed here.
at::Tensor kth(const at::Tensor &v, int64_t k) {
  if (v.is_cuda()) return std::get<0>(v.sort()).narrow(0, k - 1, 1);
  return std::get<0>(v.kthvalue(k));
}

// The same on any device, with nothing going to the host. Whatever is below the k-th is in, and of what equals it as many as are
// missing, in order. So rank the first as -1, the second by its place, the rest as n: the k-th smallest rank is that of the last in.
at::Tensor by_rank(const at::Tensor &t, int64_t k) {
  const auto v = t.abs().flatten(), limit = kth(v, k);
  const int64_t n = v.numel();
  const auto place = at::arange(n, v.options().dtype(at::kLong));
  auto rank = at::where(v.eq(limit), place, at::full({1}, n, place.options()));
  rank = at::where(v.lt(limit), at::full({1}, -1, place.options()), rank);
  return rank.gt(kth(rank, k)).to(at::kFloat).view(t.sizes());
}
}  // namespace

CT_API char *ct_mask_smallest(ct_tensor tt, int64_t k, ct_tensor *out) {
  return give(out, [&]() -> at::Tensor {
    c10::NoGradGuard no_grad;
    const auto t = T(tt).contiguous();
    TORCH_CHECK(k >= 0 && k <= t.numel(), "there are no ", k, " smallest of ", t.numel(), " elements");
    if (k == 0) return at::ones(t.sizes(), t.options().dtype(at::kFloat));
    if (!plain(t) || t.numel() > std::numeric_limits<int32_t>::max()) return by_rank(t, k);
    auto mask = at::empty(t.sizes(), t.options());
    const float *x = t.data_ptr<float>();
    mark(x, t.numel(), limit_of(x, t.numel(), k), mask.data_ptr<float>());
    return mask;
  });
}
