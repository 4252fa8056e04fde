// TorchScript: a module of named tensors with a forward of a few lines, as bytes that torch.jit.load reads.
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include <sstream>

#include "shim.h"

using namespace ct;

namespace {
using torch::jit::Module;

// The module that holds the tensor of that dotted name, made where it is not there yet; name is what is left.
Module owner(Module m, std::string &name) {
  for (size_t dot; (dot = name.find('.')) != std::string::npos; name = name.substr(dot + 1)) {
    const auto part = name.substr(0, dot);
    if (!m.hasattr(part))
      m.register_module(part, Module(c10::QualifiedName("__torch__.Part"), m._ivalue()->compilation_unit(), /*shouldMangle=*/true));
    const auto next = m.attr(part);
    TORCH_CHECK(next.isModule(), "a tensor and a part of the network both have the name ", part);
    m = next.toModule();
  }
  return m;
}
}  // namespace

CT_API char *ct_script(const char *source, const char *const *names, const ct_tensor *ts, const int *buffers, int64_t n, const char *metadata, char **out,
                       int64_t *bytes) {
  return guard([&] {
    Module root("__torch__.Network");
    for (int64_t i = 0; i < n; i++) {
      std::string name = names[i];
      auto m = owner(root, name);
      TORCH_CHECK(!m.hasattr(name), "a tensor and a part of the network both have the name ", name);
      auto t = T(ts[i]).detach().cpu().contiguous().clone();
      if (buffers[i])
        m.register_buffer(name, t);
      else
        m.register_parameter(name, t.set_requires_grad(true), /*is_buffer=*/false);
    }
    root.define(source);
    root.eval();
    std::ostringstream file;
    root.save(file, {{"metadata.json", metadata}});
    const auto data = file.str();
    auto *p = static_cast<char *>(std::malloc(data.size() + 1));
    if (p == nullptr) throw std::bad_alloc();
    std::memcpy(p, data.data(), data.size());
    *out = p;
    *bytes = static_cast<int64_t>(data.size());
  });
}

CT_API char *ct_script_run(const void *data, int64_t bytes, ct_tensor x, ct_tensor *out) {
  return give(out, [&] {
    std::istringstream file(std::string(static_cast<const char *>(data), static_cast<size_t>(bytes)));
    auto m = torch::jit::load(file);
    return m.forward({T(x)}).toTensor();
  });
}
