// The host memory of tensors. A training step asks for the same blocks over and over. The C library gives blocks of this size back to
// the kernel each time, which then clears every page again on first touch: on small networks that costs more than the arithmetic. So
// each thread keeps the blocks that its tensors free, by size, and hands them out again, until its outermost session ends.
#include <c10/core/Allocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <malloc.h>
#include <unistd.h>

#include <unordered_map>

#include "shim.h"

using namespace ct;

namespace {
// Sizes are rounded up to a quarter of their power of two, so that shapes which differ a little share blocks.
size_t rounded(size_t n) {
  size_t step = 1;
  while (step * 8 <= n) step *= 2;
  return (n + step - 1) / step * step;
}

size_t sixteenth() {
  static const size_t n = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE)) / 16;
  return n;
}

struct Pool {
  std::unordered_map<size_t, std::vector<void *>> blocks;
  size_t kept = 0, limit = sixteenth();
  void *take(size_t n) {
    const auto it = blocks.find(n);
    if (it == blocks.end() || it->second.empty()) return nullptr;
    void *p = it->second.back();
    it->second.pop_back();
    kept -= n;
    return p;
  }
  bool give(void *p, size_t n) {
    if (kept + n > limit) return false;
    blocks[n].push_back(p);
    kept += n;
    return true;
  }
  void clear() {
    for (auto &b : blocks)
      for (void *p : b.second) c10::free_cpu(p);
    blocks.clear();
    kept = 0;
  }
};

// A thread's pool, until the thread ends: what is freed after that goes straight back.
thread_local bool ended = false;
struct Mine {
  Pool pool;
  ~Mine() {
    pool.clear();
    ended = true;
  }
};
thread_local Mine mine;

// In front of each block stands its size.
constexpr size_t head = 64;  // which keeps the block aligned

void release(void *data) {
  if (data == nullptr) return;
  char *p = static_cast<char *>(data) - head;
  try {
    if (!ended && mine.pool.give(p, *reinterpret_cast<size_t *>(p))) return;
  } catch (const std::bad_alloc &) {  // no room to note it in
  }
  c10::free_cpu(p);
}

void *fresh(size_t n) {
  try {
    return c10::alloc_cpu(n);
  } catch (const c10::Error &) {
    mine.pool.clear();
    return c10::alloc_cpu(n);
  }
}

struct Keeping final : c10::Allocator {
#if CT_TORCH >= 203
  c10::DataPtr allocate(size_t n) override { return get(n); }
#else
  c10::DataPtr allocate(size_t n) const override { return get(n); }
#endif
#if CT_TORCH >= 202
  void copy_data(void *to, const void *from, size_t n) const override { default_copy_data(to, from, n); }
#endif
  c10::DeleterFnPtr raw_deleter() const override { return release; }

  static c10::DataPtr get(size_t n) {
    if (n == 0) return {nullptr, c10::Device(c10::kCPU)};
    const size_t size = rounded(n) + head;
    void *p = ended ? nullptr : mine.pool.take(size);
    if (p == nullptr) p = fresh(size);
    *static_cast<size_t *>(p) = size;
    void *data = static_cast<char *>(p) + head;
    return {data, data, release, c10::Device(c10::kCPU)};
  }
};
}  // namespace

void ct::drop_memory() { mine.pool.clear(); }
void ct::keep_at_most(int64_t bytes) { mine.pool.limit = bytes > 0 ? static_cast<size_t>(bytes) : sixteenth(); }

CT_API int64_t ct_kept_memory(void) { return ended ? 0 : static_cast<int64_t>(mine.pool.kept); }

void ct::keep_memory() {
#if defined(__SANITIZE_ADDRESS__)
  return;  // a block that is kept is one whose misuse goes unseen
#endif
  static Keeping keeping;
  c10::SetAllocator(c10::kCPU, &keeping, 0);
#if defined(__GLIBC__)
  // The same for what oneDNN and OpenBLAS take for themselves.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_TOP_PAD, 64 << 20);
#endif
}
