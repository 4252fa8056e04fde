#!/bin/bash
# A row of Table 2 of arXiv 1903.12561, by configs/mnist-filter-w8.yaml: ADMM filter pruning to the sizes of smaller widths, beside networks of
# those widths trained from scratch for as many epochs, and beside the dense one cut at once and retrained for as long.
#   scripts/table2.sh [OUT] [SEED ...]      default: runs/table2, seeds 1 2 3; the same command goes on where it was stopped
# WIDTH=16 is the row w = 16 (default 8). TIMES=3 trains three times as long in every stage (default 1), and starts ADMM from a smaller rho.
# About 70 minutes a seed on two cores. The last lines are the table: mean (least to largest) over the seeds.
set -euo pipefail
export LC_ALL=C # points in numbers
trap 'exit 143' TERM # once rapt, which is told too, has saved
cd "$(dirname "$0")/.."
out=${1:-runs/table2} width=${WIDTH:-8} times=${TIMES:-1}
shift || true
seeds=("${@:-1}")
[ $# -gt 0 ] || seeds=(1 2 3)
sizes=()
for ((w = width / 2; w >= 1; w /= 2)); do sizes+=("$w"); done

epochs() { echo --set "pretrain.epochs=$(($1 * times))" --set "admm.epochs=$(($2 * times))" --set "retrain.epochs=$(($3 * times))"; }
rapt() {
  local name=$1
  shift
  [ -e "$out/$name/DONE" ] || bin/rapt run configs/mnist-filter-w8.yaml --set run.out_dir="$out" --set run.name="$name" --set model.width="$width" "$@"
}

for seed in "${seeds[@]}"; do
  s=(--set run.seed="$seed")
  [ "$times" = 1 ] || s+=(--set admm.rho=0.03)
  # shellcheck disable=SC2046 # words
  rapt "dense-$seed" "${s[@]}" $(epochs 10 0 0) --set prune.ratio=0
  from=(--set model.load="$out/dense-$seed/checkpoints/pretrain/best.safetensors")
  for w in "${sizes[@]}"; do
    ratio=$(awk "BEGIN { print 1 - $w / $width }")
    # shellcheck disable=SC2046
    rapt "admm-$w-$seed" "${s[@]}" "${from[@]}" $(epochs 0 5 4) --set prune.ratio="$ratio"
    # shellcheck disable=SC2046
    rapt "oneshot-$w-$seed" "${s[@]}" "${from[@]}" $(epochs 0 0 9) --set prune.ratio="$ratio"
    # shellcheck disable=SC2046
    rapt "scratch-$w-$seed" "${s[@]}" $(epochs 19 0 0) --set model.width="$w" --set prune.ratio=0
  done
done

# The accuracies of each cell's last stage, from the reports.
field() { sed -n "/\"sparsity\": {/q; s/^ *\"$2\": *\([0-9.]*\),*$/\1/p" "$1" | head -n 1; }
printf '| cell | clean %% | PGD-40 %% |\n|---|---|---|\n'
for cell in dense "${sizes[@]/#/scratch-}" "${sizes[@]/#/oneshot-}" "${sizes[@]/#/admm-}"; do
  for seed in "${seeds[@]}"; do
    report=$out/$cell-$seed/report.json
    [ ! -e "$report" ] || echo "$(field "$report" clean_accuracy) $(field "$report" pgd-40)"
  done | awk -v cell="$cell" '
    { for (i = 1; i <= 2; i++) { v = 100 * $i; sum[i] += v; if (NR == 1 || v < lo[i]) lo[i] = v; if (NR == 1 || v > hi[i]) hi[i] = v } }
    END { if (NR) printf "| %s | %.2f (%.2f to %.2f) | %.2f (%.2f to %.2f) |\n", cell, sum[1]/NR, lo[1], hi[1], sum[2]/NR, lo[2], hi[2] }'
done
