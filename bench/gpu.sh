#!/usr/bin/env bash
# All that a GPU has to show, in one call of less than eight minutes on a machine that has PyTorch with CUDA, cmake and python3,
# but neither Go nor a network.
#   bench/gpu.sh pack FOLDER [FILE]       here: builds the Go binaries and test binaries into .gpu/; the folder holds the files of MNIST and is
#                                         named mnist, the file an archive of CIFAR-10 (docs/data.md)
#   bench/gpu.sh [RESULTS]                there, in a copy of the tree with .gpu/: builds the shim against its PyTorch and runs all
# It writes RESULTS (bench/results/gpu.json by default) and prints it last. What fails does not keep the rest from running.
# RAPT_GPU_PARTS chooses among speed, tests, sanitize, profile, train, events, benchmark and results, a+b being beside each other;
# RAPT_GPU_TESTS, RAPT_GPU_ROWS and RAPT_GPU_RESULTS among the packages, the benchmark's rows (a regular expression) and the results;
# RAPT_GPU_SECONDS is the limit for all, RAPT_GPU_KEEP a folder to pack what is worth keeping into, in files of at most 15 MiB.
set -euo pipefail
cd "$(dirname "$0")/.."
kit=$PWD/.gpu
limit=${RAPT_GPU_SECONDS:-450} # for everything

pack() {
  if [ "$(basename "${1:-}")" != mnist ] || [ ! -d "$1" ]; then
    echo "bench/gpu.sh: pack needs the folder mnist with that data set's files (rapt data fetch mnist makes data/mnist)" >&2
    exit 2
  fi
  rm -rf "$kit"/{rapt,bench,tests,data,shim,runs,kit.tar.xz,commit} # not what the job parity needs
  mkdir -p "$kit/tests" "$kit/data"
  go build -ldflags '-s -w' -o "$kit/rapt" ./cmd/rapt
  go build -ldflags '-s -w' -o "$kit/bench" ./bench
  local pkg
  for pkg in cgo cgo/nn models adversarial admm trainer; do
    go test -c -ldflags '-s -w' -o "$kit/tests/${pkg//\//_}.test" "./$pkg"
  done
  cp -r "$@" "$kit/data/"
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

package() { # FILE: the package's tests, with their tensors on the GPU
  local pkg start=$SECONDS failed=0
  pkg=$(basename "$1" .test)
  if (cd "${pkg//_//}" && timeout "$(left)" "$1" -test.v -test.run "$(only "$pkg")" -test.skip CUDASpeed >"$kit/$pkg.log" 2>&1); then
    echo "ok   $pkg, $((SECONDS - start)) s"
  else
    failed=1; echo "FAIL $pkg"; grep -E '^ *--- FAIL|Error:|Messages:|panic' "$kit/$pkg.log" | head -40; tail -n 5 "$kit/$pkg.log"
  fi
  grep -ho 'measured: .*' "$kit/$pkg.log" || true
  return $failed
}

tests() { # all at once
  local pkg job jobs=() failed=0
  for pkg in ${RAPT_GPU_TESTS:-cgo cgo_nn models adversarial admm trainer}; do
    package "$kit/tests/$pkg.test" &
    jobs+=($!)
  done
  for job in "${jobs[@]}"; do wait "$job" || failed=1; done
  return $failed
}

speed() { # alone on the GPU
  (cd trainer && timeout "$(left)" "$kit/tests/trainer.test" -test.v -test.run CUDASpeed >"$kit/speed.log" 2>&1) || { tail -n 20 "$kit/speed.log"; return 1; }
  grep -ho 'measured: .*' "$kit/speed.log"
  timeout 40 "$kit/rapt" doctor --find-batch configs/cifar10-modern.yaml --set run.precision=bf16 --batch-limit 1024 || return 1
}

sanitize() { # memory errors, and races in the kernels; slow
  (cd cgo && timeout 120 compute-sanitizer --error-exitcode 9 "$kit/tests/cgo.test" -test.run 'Graph|Fused|Optim|SGD|Adam|PGD|Conv|Linear|Random|Memory' >"$kit/sanitize.log" 2>&1)
  local status=$?
  tail -n 4 "$kit/sanitize.log"
  return $status
}

profile() { # the kernels of a step launch by launch, each with its time
  timeout 90 ncu --clock-control none --metrics gpu__time_duration.sum --launch-skip 9000 --launch-count 3000 --kill yes --csv \
    "$kit/rapt" run configs/cifar10-modern.yaml --set run.device=cuda --set run.precision=bf16 --set run.cuda_graphs=false --set data.train_limit=6000 \
    --set run.out_dir="$kit/runs" --set run.name=profile --overwrite >"$kit/profile.csv" 2>"$kit/profile.err" || true
  python3 bench/gpu_kernels.py "$kit/profile.csv"
}

# shellcheck disable=SC2086 # words
results() { bench/gpu_results.sh "$(left)" "$kit/runs" ${RAPT_GPU_RESULTS:-}; }

benchmark() { # what it had measured when its time was up is kept
  timeout "$(($(left) < 170 ? $(left) : 170))" "$kit/bench" --device cuda --rounds 3 --only "${RAPT_GPU_ROWS:-.}" --rapt "$kit/rapt" --out "$kit/bench.json" >"$kit/bench.log" 2>&1 || { tail -n 20 "$kit/bench.log"; return 1; }
  grep '^|' "$kit/bench.log"
}

train() { # a short real training: its report is part of the result
  timeout "$(left)" "$kit/rapt" run configs/mnist.yaml --set run.device=cuda --set run.out_dir="$kit/runs" --set run.name=gpu --set "data.dir=$kit/data" \
    --set pretrain.epochs=10 --set admm.epochs=5 --set retrain.epochs=4 --overwrite --json >"$kit/report.json" 2>"$kit/train.log" || { tail -n 20 "$kit/train.log"; return 1; }
}

events() { # the event files of the runs, in the real TensorBoard, where there is one
  python3 -c 'import tensorboard' 2>/dev/null || { echo "events: no TensorBoard here"; return 0; }
  python3 scripts/tensorboard_check.py "$kit"/runs/*/
}

# shellcheck disable=SC2086 # words
keep() { # FOLDER: logs and reports with the runs' last weights (of coupled filters the smaller network's) in kept.tar.xz.*, the dense weights in dense.tar.xz.*
  mkdir -p "$1"
  set -- "$(realpath "$1")"
  cd "$kit"
  local logs dense
  logs=$(find . -maxdepth 1 -type f \( -name '*.log' -o -name '*.json' -o -name '*.csv' \))
  dense=$(find . -path '*/pretrain/best.safetensors')
  find . -path './runs/*' -type f ! -path '*/checkpoints/*' ! -name '*.lock' -o -path '*/retrain/best.*' ! -path '*/cifar10-coupled/*' -o -path '*/pretrain/best.json' -o -path '*/compact/best.*' |
    tar -cf - -T - $logs | xz -T0 -1 | split -b 15M - "$1/kept.tar.xz."
  [ -z "$dense" ] || tar -cf - $dense | xz -T0 -1 | split -b 15M - "$1/dense.tar.xz."
}

together() { # PARTS joined by +, beside each other
  local part i parts pids=() failed=0
  IFS=+ read -ra parts <<<"$1"
  for part in "${parts[@]}"; do "$part" & pids+=($!); done
  for i in "${!parts[@]}"; do
    if wait "${pids[$i]}"; then echo "${parts[$i]} ok" >>"$kit/parts"; else failed=1; echo "${parts[$i]} failed" >>"$kit/parts"; fi
  done
  return $failed
}

main() {
  local results=${1:-bench/results/gpu.json} status=0 part
  tar -C "$kit" -xJf "$kit/kit.tar.xz"
  build_shim || { echo "bench/gpu.sh: the shim could not be built" >&2; exit 1; }
  echo "the shim is built after $SECONDS s"
  export LD_LIBRARY_PATH=$PWD/cgo/lib RAPT_TEST_DEVICE=cuda CUBLAS_WORKSPACE_CONFIG=:4096:8 # cuBLAS reads the last when CUDA starts
  export RAPT_DATA_DIR=$kit/data
  mkdir -p bin && cp "$kit/rapt" bin/
  bin/rapt doctor || true
  : >"$kit/parts"
  for part in ${RAPT_GPU_PARTS:-speed tests train events benchmark}; do
    together "$part" || status=1
    echo "$part done after $SECONDS s"
  done
  mkdir -p "$(dirname "$results")"
  python3 bench/gpu_summary.py "$kit" >"$results"
  cat "$results"
  [ -z "${RAPT_GPU_KEEP:-}" ] || (keep "$RAPT_GPU_KEEP")
  return $status
}

if [ "${1:-}" = pack ]; then pack "${@:2}"; else main "$@"; fi
