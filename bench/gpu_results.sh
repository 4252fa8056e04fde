#!/usr/bin/env bash
# Results for docs/results.md that want a GPU, beside each other: small networks leave most of it idle. Each goes on where it was stopped.
#   bench/gpu_results.sh SECONDS OUT [JOB ...]      jobs: cifar, w8-SEED, w16-SEED (rows of Table 2), progressive, parity; default: all
# Needs bin/rapt and $RAPT_DATA_DIR. parity compares with the published AutoAttack where its package lies in .gpu/auto-attack and a CIFAR-10
# checkpoint in .gpu/parity.safetensors.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=$1 out=$2
jobs=("${@:3}")
[ $# -gt 2 ] || jobs=(cifar w8-1 w8-2 w8-3 w16-1 progressive parity)
mkdir -p "$out"

judge() { # RUN: the first two attacks of AutoAttack, which decide nearly all of it
  [ -e "$out/$1.json" ] || { bin/rapt eval "$out/$1" --attacks apgd-ce,apgd-t --limit 1000 --suspicion=false --json >"$out/$1.json.new" && mv "$out/$1.json.new" "$out/$1.json"; }
}

cifar() { # 90 % and 99 % from one dense network
  set -e
  local sets=(--set run.out_dir="$out" --set run.name=cifar10-90)
  [ -e "$out/cifar10-90/DONE" ] || bin/rapt run configs/cifar10-fast.yaml "${sets[@]}"
  judge cifar10-90
  sets=(--set run.out_dir="$out" --set run.name=cifar10-99 --set prune.ratio=0.99 --set pretrain.epochs=0
    --set model.load="$out/cifar10-90/checkpoints/pretrain/best.safetensors")
  [ -e "$out/cifar10-99/DONE" ] || bin/rapt run configs/cifar10-fast.yaml "${sets[@]}"
  judge cifar10-99
}

job() {
  local seed=${1#*-}
  case $1 in
    cifar) cifar ;;
    w8-*) TIMES=3 exec scripts/table2.sh "$out/table2-w8" "$seed" ;;
    w16-*) WIDTH=16 TIMES=2 exec scripts/table2.sh "$out/table2-w16" "$seed" ;;
    progressive) exec bin/rapt run configs/lenet-progressive.yaml --set run.out_dir="$out" --set run.name=progressive ;;
    parity) exec scripts/autoattack_parity.sh .gpu/parity.safetensors --package .gpu/auto-attack --data "$RAPT_DATA_DIR" --eps 0.03137254901960784 --device cuda ;;
    *) echo "gpu_results.sh: no job $1" >&2; exit 2 ;;
  esac
}

export -f job cifar judge
export out
began=$SECONDS
pids=()
for name in "${jobs[@]}"; do
  timeout -s TERM -k 20 "$seconds" bash -c 'job "$0"' "$name" >"$out/$name.log" 2>&1 &
  pids+=($!)
done
failed=0
for i in "${!jobs[@]}"; do
  if wait "${pids[$i]}"; then echo "${jobs[$i]} done"; else failed=1; echo "${jobs[$i]} not done: $(tail -n 1 "$out/${jobs[$i]}.log" | tr '\r' '\n' | tail -n 1 | cut -c 1-200)"; fi
done
echo "results after $((SECONDS - began)) s"
exit $failed
