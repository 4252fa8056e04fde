#!/usr/bin/env bash
# All that a GPU has to show, in one call of less than eight minutes on a machine that has PyTorch with CUDA, cmake and python3,
# but neither Go nor a network.
#   bench/gpu.sh pack FOLDER              here: builds the Go binaries and test binaries into .gpu/; the folder holds the files of MNIST and is named mnist
#   bench/gpu.sh [RESULTS]                there, in a copy of the tree with .gpu/: builds the shim against its PyTorch and runs all
# It writes RESULTS (bench/results/gpu.json by default) and prints it last. What fails does not keep the rest from running.
set -euo pipefail
cd "$(dirname "$0")/.."
kit=$PWD/.gpu
limit=${RAPT_GPU_SECONDS:-450} # for everything

pack() {
  if [ "$(basename "${1:-}")" != mnist ] || [ ! -d "$1" ]; then
    echo "bench/gpu.sh: pack needs the folder mnist with that data set's files (rapt data fetch mnist makes data/mnist)" >&2
    exit 2
  fi
  rm -rf "$kit"
  mkdir -p "$kit/tests" "$kit/data"
  go build -ldflags '-s -w' -o "$kit/rapt" ./cmd/rapt
  go build -ldflags '-s -w' -o "$kit/bench" ./bench
  local pkg
  for pkg in cgo cgo/nn models adversarial admm trainer; do
    go test -c -ldflags '-s -w' -o "$kit/tests/${pkg//\//_}.test" "./$pkg"
  done
  cp -r "$1" "$kit/data/"
  tar -C "$kit" -cJf "$kit/kit.tar.xz" rapt bench tests data
  git describe --always --dirty >"$kit/commit"
  rm -rf "$kit/rapt" "$kit/bench" "$kit/tests" "$kit/data"
  ls -l "$kit"
}

left() { echo $((limit > SECONDS + 5 ? limit - SECONDS : 5)); } # seconds

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

# The trainer's other tests are of the CPU's teams and of files; they ran where the kit was packed.
only() { if [ "$1" = trainer ]; then echo 'CUDA|Graph|Recorded|BFloat16|Precision|Indices|Vectors|NothingWaits'; else echo .; fi; }

tests() { # with their tensors on the GPU
  local test pkg failed=0 start
  for test in "$kit"/tests/*.test; do
    pkg=$(basename "$test" .test) start=$SECONDS
    if (cd "${pkg//_//}" && timeout "$(left)" "$test" -test.v -test.run "$(only "$pkg")" >"$kit/$pkg.log" 2>&1); then
      echo "ok   $pkg, $((SECONDS - start)) s"
    else
      failed=1; echo "FAIL $pkg"; grep -E '^ *--- FAIL|Error:|Messages:|panic' "$kit/$pkg.log" | head -40; tail -n 5 "$kit/$pkg.log"
    fi
    grep -ho 'measured: .*' "$kit/$pkg.log" || true
  done
  return $failed
}

benchmark() { timeout "$(left)" "$kit/bench" --device cuda --rounds 3 --rapt "$kit/rapt" --out "$kit/bench.json" >"$kit/bench.log" 2>&1 || { tail -n 20 "$kit/bench.log"; return 1; }; }

train() { # a short real training: its report is part of the result
  timeout "$(left)" "$kit/rapt" run configs/mnist.yaml --set run.device=cuda --set run.out_dir="$kit/runs" --set run.name=gpu --set "data.dir=$kit/data" \
    --set pretrain.epochs=10 --set admm.epochs=5 --set retrain.epochs=4 --overwrite --json >"$kit/report.json" 2>"$kit/train.log" || { tail -n 20 "$kit/train.log"; return 1; }
}

main() {
  local results=${1:-bench/results/gpu.json} status=0 part
  tar -C "$kit" -xJf "$kit/kit.tar.xz"
  build_shim
  echo "the shim is built after $SECONDS s"
  export LD_LIBRARY_PATH=$PWD/cgo/lib RAPT_TEST_DEVICE=cuda CUBLAS_WORKSPACE_CONFIG=:4096:8 # cuBLAS reads the last when CUDA starts
  "$kit/rapt" doctor || true
  : >"$kit/parts"
  for part in tests train benchmark; do
    if "$part"; then echo "$part ok" >>"$kit/parts"; else status=1; echo "$part failed" >>"$kit/parts"; fi
    echo "$part done after $SECONDS s"
  done
  mkdir -p "$(dirname "$results")"
  python3 bench/gpu_summary.py "$kit" >"$results"
  cat "$results"
  return $status
}

if [ "${1:-}" = pack ]; then pack "${2:-}"; else main "$@"; fi
