// Recording what a session asks of its GPU, to have it done again by one launch.
#include "shim.h"
#if defined(CGOTORCH_CUDA) && CT_TORCH >= 201
#define CT_HAS_GRAPHS
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#include <mutex>
#endif

using namespace ct;

#ifdef CT_HAS_GRAPHS
namespace {
// Older libtorch lists the graphs in a device's generator without a lock, and two sessions on one GPU may record at the same time. What is recorded goes
// on beside each other.
std::mutex listing;

struct Graph {
  at::cuda::CUDAGraph graph;
  c10::cuda::CUDAStream stream = c10::cuda::getCurrentCUDAStream();
  decltype(at::cuda::graph_pool_handle()) pool = at::cuda::graph_pool_handle();  // its type moved
  bool failed = false;

  // libtorch stops in the middle where a recording is not valid. The allocator must be told, or it would go on waiting for the
  // end of the recording with all that it defers until then; what it has been told already it refuses to hear again.
  void abandon() noexcept {
    failed = true;
    (void)cudaGetLastError();
#if CT_TORCH >= 206
    auto *memory = c10::cuda::CUDACachingAllocator::get();
    ct_free_string(guard([&] { memory->endAllocateToPool(stream.device_index(), pool); }));
    ct_free_string(guard([&] { memory->releasePool(stream.device_index(), pool); }));
#endif
  }
};
Graph &R(ct_graph g) { return *static_cast<Graph *>(g); }
}  // namespace

CT_API char *ct_graph_check(void) { return nullptr; }

CT_API char *ct_graph_begin(ct_graph *out) {
  return guard([&] {
    auto g = std::make_unique<Graph>();
    TORCH_CHECK(g->stream != c10::cuda::getDefaultCUDAStream(), "the thread has no session on a GPU");
    try {
      std::lock_guard<std::mutex> lock(listing);
      g->graph.capture_begin(g->pool, cudaStreamCaptureModeThreadLocal);  // other threads may go on as they like
    } catch (...) {
      g.release()->abandon();
      throw;
    }
    *out = g.release();
  });
}

CT_API char *ct_graph_end(ct_graph g) {
  return guard([&] {
    try {
      std::lock_guard<std::mutex> lock(listing);
      R(g).graph.capture_end();
    } catch (...) {
      R(g).abandon();
      throw;
    }
  });
}

CT_API char *ct_graph_replay(ct_graph g) {
  return guard([&] { R(g).graph.replay(); });
}

CT_API void ct_graph_close(ct_graph g) {
  if (R(g).failed) return;  // the allocator may still hold a pointer to it
  ct_free_string(guard([&] {
    R(g).stream.synchronize();
    std::lock_guard<std::mutex> lock(listing);
    delete &R(g);
  }));
}
#else
namespace {
char *absent() {
  return guard([] { TORCH_CHECK(false, "CUDA graphs need a libtorch of 2.1 or newer with CUDA"); });
}
}  // namespace

CT_API char *ct_graph_check(void) { return absent(); }
CT_API char *ct_graph_begin(ct_graph *) { return absent(); }
CT_API char *ct_graph_end(ct_graph) { return absent(); }
CT_API char *ct_graph_replay(ct_graph) { return absent(); }
CT_API void ct_graph_close(ct_graph) {}
#endif
