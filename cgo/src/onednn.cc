// Whether oneDNN's convolutions can be trusted. Debian 13's 3.7.2 was seen to leave what pads its blocks of 16 channels as it found
// it, and to add it in: any other number of channels had gradients that were wrong by as much as their size.
#include <dlfcn.h>

#include "shim.h"

namespace ct {
namespace {
std::atomic<bool> distrusted{false};

// Freed memory that the next allocations of about a kilobyte to a megabyte find full of large numbers.
void soil() {
  std::vector<std::unique_ptr<char[]>> blocks;
  for (size_t size = 1 << 10; size <= 1 << 20; size += size / 4) {
    blocks.push_back(std::make_unique<char[]>(size));
    std::memset(blocks.back().get(), 0x7e, size);
  }
}

bool right(int64_t channels) {
  const auto g = at::ones({2, channels, 8, 8}), x = at::ones({2, channels, 8, 8}), w = at::ones({channels, channels, 3, 3});
  soil();
  const auto r = at::convolution_backward(g, x, w, c10::nullopt, {1, 1}, {1, 1}, {1, 1}, false, {0, 0}, 1, {true, true, false});
  const auto inner = std::get<0>(r).narrow(2, 1, 6).narrow(3, 1, 6);
  return inner.eq(static_cast<double>(9 * channels)).all().item<bool>() && std::get<1>(r).amax().item<double>() == 128;
}

// Debian 12's 2.6 is right. Where oneDNN is part of libtorch itself, its version cannot be asked for.
bool proven() {
  struct Version {
    int major, minor, patch;
  };
  const auto version = reinterpret_cast<const Version *(*)()>(dlsym(RTLD_DEFAULT, "dnnl_version"));
  return version != nullptr && version()->major < 3;
}
}  // namespace

void check_onednn() {
  static const bool done = [] {
    auto &context = at::globalContext();
    if (proven()) return true;  // asking takes 25 ms
    if (!context.userEnabledMkldnn() || (right(4) && right(8) && right(20))) return true;
    context.setUserEnabledMkldnn(false);
    distrusted = true;
    return true;
  }();
  (void)done;
}
}  // namespace ct

bool ct::onednn_distrusted() { return distrusted; }
CT_API int ct_onednn_distrusted(void) { return ct::distrusted; }
