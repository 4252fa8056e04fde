#!/usr/bin/env bash
# All that a GPU has to show, in one call of a few minutes on a machine that has PyTorch with CUDA, cmake and python3, but
# neither Go nor a network.
#   bench/gpu.sh pack [FOLDER OF mnist]   here: builds the Go binaries and test binaries into .gpu/
#   bench/gpu.sh [RESULTS]                there, in a copy of the tree with .gpu/: builds the shim against its PyTorch and runs all
# It writes RESULTS (bench/results/gpu.json by default) and prints it last.
set -euo pipefail
cd "$(dirname "$0")/.."
kit=$PWD/.gpu

pack() {
  mkdir -p "$kit/tests" "$kit/data"
  go build -ldflags '-s -w' -o "$kit/rapt" ./cmd/rapt
  local pkg
  for pkg in cgo cgo/nn models adversarial admm trainer; do
    go test -c -ldflags '-s -w' -o "$kit/tests/${pkg//\//_}.test" "./$pkg"
  done
  if [ -n "${1:-}" ]; then cp -r "$1" "$kit/data/"; fi
  tar -C "$kit" -cJf "$kit/kit.tar.xz" rapt tests data
  git describe --always --dirty >"$kit/commit"
  rm -rf "$kit/rapt" "$kit/tests" "$kit/data"
  ls -l "$kit"
}

build_shim() {
  local prefix
  prefix=$(python3 -c 'import torch; print(torch.utils.cmake_prefix_path)')
  if ! cmake -S cgo/src -B "$kit/shim" -DCMAKE_PREFIX_PATH="$prefix" >"$kit/cmake.log" 2>&1; then
    echo "find_package(Torch) failed, linking by hand:"; tail -n 15 "$kit/cmake.log"
    rm -rf "$kit/shim"
    cmake -S cgo/src -B "$kit/shim" -DCGOTORCH_TORCH_ROOT="$(python3 -c 'import os, torch; print(os.path.dirname(torch.__file__))')"
  fi
  cmake --build "$kit/shim" -j "$(nproc)"
  mkdir -p cgo/lib
  cp "$kit/shim/libcgotorch.so" cgo/lib/
}

tests() { # every package's tests, with their tensors on the GPU
  local test pkg failed=0
  for test in "$kit"/tests/*.test; do
    pkg=$(basename "$test" .test)
    if (cd "${pkg//_//}" && RAPT_TEST_DEVICE=cuda "$test" -test.timeout 200s >"$kit/$pkg.log" 2>&1); then
      echo "ok   $pkg"
    else
      failed=1; echo "FAIL $pkg"; grep -E '^ *--- FAIL|Error:|panic' "$kit/$pkg.log" | head -20; tail -n 5 "$kit/$pkg.log"
    fi
  done
  return $failed
}

train() { # a short real training: its report is the result
  "$kit/rapt" run configs/mnist.yaml --set run.device=cuda --set run.out_dir="$kit/runs" --set run.name=gpu --set "data.dir=$kit/data" \
    --overwrite --json >"$kit/report.json"
}

main() {
  local results=${1:-bench/results/gpu.json} status=0
  tar -C "$kit" -xJf "$kit/kit.tar.xz"
  build_shim
  export LD_LIBRARY_PATH=$PWD/cgo/lib
  "$kit/rapt" doctor || true
  tests || status=1
  train || status=1
  mkdir -p "$(dirname "$results")"
  python3 bench/gpu_summary.py "$kit" "$status" >"$results"
  cat "$results"
  return $status
}

if [ "${1:-}" = pack ]; then pack "${2:-}"; else main "$@"; fi
