#!/bin/bash
# Train lenet_adv of width 4 on MNIST by each method of docs/training.md, by configs/mnist-trades.yaml's pretraining, and judge each: PGD-40 on all
# test images, AutoAttack on the first 1,000.
#   scripts/methods.sh [OUT] [EPOCHS] [METHOD ...]      default: runs/methods, 10 epochs, all but trades-awp; the same command goes on where it was stopped
# free replays each batch 8 times, as many passes over the images in all as pgd's 7 steps and the update. About an hour on two cores. The last
# lines are the table.
set -euo pipefail
export LC_ALL=C # points in numbers
cd "$(dirname "$0")/.."
out=${1:-runs/methods} epochs=${2:-10}
methods=("${@:3}")
[ $# -gt 2 ] || methods=(pgd trades mart awp fgsm_rs free)
mkdir -p "$out"

options() { # of a method, as --set
  case $1 in
    pgd | fgsm_rs) echo "method=$1" ;;
    trades) echo method=trades beta=6 ;;
    mart) echo method=mart beta=5 ;;
    awp) echo method=pgd awp_gamma=0.01 awp_warmup=2 ;;
    trades-awp) echo method=trades beta=6 awp_gamma=0.005 awp_warmup=2 ;;
    free) echo method=free replays=8 ;;
    *) echo "methods.sh: no method $1" >&2; return 1 ;;
  esac
}

for method in "${methods[@]}"; do
  sets=(--set prune.ratio=0 --set admm.epochs=0 --set retrain.epochs=0 --set pretrain.epochs="$epochs" --set training.beta=0 --set training.ema_decay=0)
  for option in $(options "$method"); do sets+=(--set "training.$option"); done
  [ -e "$out/$method/DONE" ] || bin/rapt run configs/mnist-trades.yaml --set run.out_dir="$out" --set run.name="$method" "${sets[@]}"
  if [ ! -e "$out/$method.json" ]; then
    bin/rapt eval "$out/$method" --attacks autoattack --limit 1000 --suspicion=false --json >"$out/$method.json.new"
    mv "$out/$method.json.new" "$out/$method.json"
  fi
done

field() { sed -n "/\"sparsity\": {/q; s/^ *\"$2\": *\([0-9.]*\),*$/\1/p" "$1" | head -n 1; }
printf '| method | clean %% | PGD-40 %% | AutoAttack %%, 1,000 images | minutes |\n|---|---|---|---|---|\n'
for method in "${methods[@]}"; do
  report=$out/$method/report.json
  echo "$method $(field "$report" clean_accuracy) $(field "$report" pgd-40) $(field "$out/$method.json" autoattack) $(field "$report" seconds)"
done | awk '{ printf "| %s | %.2f | %.2f | %.1f | %.1f |\n", $1, 100 * $2, 100 * $3, 100 * $4, $5 / 60 }'
