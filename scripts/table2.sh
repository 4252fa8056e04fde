#!/bin/bash
# The row w = 8 of Table 2 of arXiv 1903.12561, by configs/mnist-filter-w8.yaml: ADMM filter pruning to the sizes of width 4, 2 and 1, beside
# networks of those widths trained from scratch for as many epochs, and beside the dense one cut at once and retrained for as long.
#   scripts/table2.sh [OUT] [SEED ...]      default: runs/table2, seeds 1 2 3; the same command goes on where it was stopped
# About 70 minutes a seed on two cores. The last lines are the table: mean (least to largest) over the seeds.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/table2}
shift || true
seeds=("${@:-1}")
[ $# -gt 0 ] || seeds=(1 2 3)

rapt() {
  local name=$1
  shift
  [ -e "$out/$name/DONE" ] || bin/rapt run configs/mnist-filter-w8.yaml --set run.out_dir="$out" --set run.name="$name" "$@"
}

for seed in "${seeds[@]}"; do
  s=(--set run.seed="$seed")
  rapt "dense-$seed" "${s[@]}" --set prune.ratio=0 --set admm.epochs=0 --set retrain.epochs=0
  from=(--set model.load="$out/dense-$seed/checkpoints/pretrain/best.safetensors" --set pretrain.epochs=0)
  for cell in 4:0.5 2:0.75 1:0.875; do
    rapt "admm-${cell%:*}-$seed" "${s[@]}" "${from[@]}" --set prune.ratio="${cell#*:}"
    rapt "oneshot-${cell%:*}-$seed" "${s[@]}" "${from[@]}" --set prune.ratio="${cell#*:}" --set admm.epochs=0 --set retrain.epochs=9
    rapt "scratch-${cell%:*}-$seed" "${s[@]}" --set model.width="${cell%:*}" --set prune.ratio=0 --set pretrain.epochs=19 --set admm.epochs=0 --set retrain.epochs=0
  done
done

# The accuracies of each cell's last stage, from the reports.
field() { sed -n "/\"sparsity\": {/q; s/^ *\"$2\": *\([0-9.]*\),*$/\1/p" "$1" | head -n 1; }
printf '| cell | clean %% | PGD-40 %% |\n|---|---|---|\n'
for cell in dense scratch-4 scratch-2 scratch-1 oneshot-4 oneshot-2 oneshot-1 admm-4 admm-2 admm-1; do
  for seed in "${seeds[@]}"; do
    report=$out/$cell-$seed/report.json
    [ ! -e "$report" ] || echo "$(field "$report" clean_accuracy) $(field "$report" pgd-40)"
  done | awk -v cell="$cell" '
    { for (i = 1; i <= 2; i++) { v = 100 * $i; sum[i] += v; if (NR == 1 || v < lo[i]) lo[i] = v; if (NR == 1 || v > hi[i]) hi[i] = v } }
    END { if (NR) printf "| %s | %.2f (%.2f to %.2f) | %.2f (%.2f to %.2f) |\n", cell, sum[1]/NR, lo[1], hi[1], sum[2]/NR, lo[2], hi[2] }'
done
