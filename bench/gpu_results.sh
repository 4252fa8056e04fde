#!/usr/bin/env bash
# Results for docs/results.md that want a GPU, beside each other: small networks leave most of it idle. Each goes on where it was stopped, if
# OUT is still there.
#   bench/gpu_results.sh SECONDS OUT [JOB ...]      jobs: cifar, w8-SEED, w16-SEED (rows of Table 2), progressive, parity; default: cifar
# Needs bin/rapt and $RAPT_DATA_DIR. parity compares with the published AutoAttack where its package lies in .gpu/auto-attack and a CIFAR-10
# checkpoint in .gpu/parity.safetensors.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=$1 out=$2
jobs=("${@:3}")
[ $# -gt 2 ] || jobs=(cifar)
mkdir -p "$out"

judge() { # RUN: the first two attacks of AutoAttack, which decide nearly all of it
  [ -e "$out/$1.json" ] || { bin/rapt eval "$out/$1" --attacks apgd-ce,apgd-t --limit 1000 --suspicion=false --json >"$out/$1.json.new" && mv "$out/$1.json.new" "$out/$1.json"; }
}

pruned() { # RUN [SETTING ...]: configs/cifar10-fast.yaml from the dense network of the run cifar10-90, unless it is that
  local name=$1 sets=() s
  shift
  for s in "run.out_dir=$out" "run.name=$name" "$@"; do sets+=(--set "$s"); done
  [ "$name" = cifar10-90 ] || sets+=(--set pretrain.epochs=0 --set "model.load=$out/cifar10-90/checkpoints/pretrain/best.safetensors")
  [ -e "$out/$name/DONE" ] || bin/rapt run configs/cifar10-fast.yaml "${sets[@]}"
}

compact() { # RUN FILE: the smaller dense network of the retrained one, its sizes and speed
  [ -e "$out/$1-compact.json" ] || { bin/rapt compact "$out/$1/checkpoints/retrain/best.safetensors" --out "$2" --batch-size 1000 --json >"$out/$1-compact.json.new" && mv "$out/$1-compact.json.new" "$out/$1-compact.json"; }
}

cifar() { # 90 %, 99 % and three of four filters from one dense network, each judged while the next one trains; then three of four coupled filters, with what is left of them trained on
  local failed=0 job judges=()
  pruned cifar10-90 || return
  judge cifar10-90 & judges+=($!)
  pruned cifar10-99 prune.budget.keep=0.01 && { judge cifar10-99 & judges+=($!); } || failed=1
  pruned cifar10-filter prune.sparsity_type=filter prune.budget=null prune.ratio=0.75 && judge cifar10-filter || failed=1
  for job in ${judges[@]+"${judges[@]}"}; do wait "$job" || failed=1; done
  compact cifar10-filter "${TMPDIR:-/tmp}/filter.safetensors" || failed=1 # alone, for its speed, which is what is kept of it
  pruned cifar10-coupled prune.sparsity_type=coupled_filter prune.budget=null prune.ratio=0.75 compact.epochs=50 compact.lr=0.1 compact.lr_schedule=cosine compact.weight_decay=5e-4 &&
    judge cifar10-coupled && compact cifar10-coupled "$out/cifar10-coupled.safetensors" || failed=1
  return "$failed"
}

job() {
  local seed=${1#*-}
  case $1 in
    cifar) cifar ;;
    w8-*) TIMES=3 scripts/table2.sh "$out/table2-w8" "$seed" ;;
    w16-*) WIDTH=16 TIMES=2 scripts/table2.sh "$out/table2-w16" "$seed" ;;
    progressive) bin/rapt run configs/lenet-progressive.yaml --set run.out_dir="$out" --set run.name=progressive ;;
    parity) scripts/autoattack_parity.sh .gpu/parity.safetensors --package .gpu/auto-attack --data "$RAPT_DATA_DIR" --eps 0.03137254901960784 --device cuda ;;
    *) echo "gpu_results.sh: no job $1" >&2; exit 2 ;;
  esac
}

export -f job cifar pruned judge compact
export out
began=$SECONDS # each job's shell outlives the signal, for timeout waits for no other, and rapt saves when it comes
pids=()
for name in "${jobs[@]}"; do
  timeout -s TERM -k 20 "$seconds" bash -c 'trap "wait; exit 143" TERM; job "$0"' "$name" >"$out/$name.log" 2>&1 &
  pids+=($!)
done
failed=0
for i in "${!jobs[@]}"; do
  if wait "${pids[$i]}"; then echo "${jobs[$i]} done"; else failed=1; echo "${jobs[$i]} not done: $(tail -n 1 "$out/${jobs[$i]}.log" | tr '\r' '\n' | tail -n 1 | cut -c 1-200)"; fi
done
echo "results after $((SECONDS - began)) s"
exit $failed
