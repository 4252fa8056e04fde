#!/bin/bash
# Every network that rapt has through pretrain, admm and retrain at 50 % (configs/every-network.yaml), on 96 images, the heavy ones on 32 or 16 (the
# heaviest for six epochs in place of three):
#   scripts/every_network.sh [OUT] [NETWORK ...]      default: runs/every-network, all of them; the same command goes on where it was stopped
# Needs CIFAR-10 (rapt data fetch cifar10), bin/rapt and python3. The last lines are the table; exit code 1 where a loss does not fall or a layer
# has not exactly the zeros that it should.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/every-network}
shift || true
mkdir -p "$out"
list=$(bin/rapt models --json)

field() { python3 -c '
import json, sys
for m in json.load(sys.stdin)["models"]:
    print(m["name"], "digits" if m["input"][0] == 1 else "cifar10", 24 if m["macs"] > 3e9 else 40 if m["macs"] > 500e6 else 104, 6 if m["macs"] > 10e9 else 3)' <<<"$list"; }

while read -r arch dataset images epochs; do
  [ $# -eq 0 ] || [[ " $* " == *" $arch "* ]] || continue
  name=$arch-$dataset
  [ -e "$out/$name/DONE" ] || bin/rapt run configs/every-network.yaml --set run.out_dir="$out" --set run.name="$name" --set model.arch="$arch" \
    --set data.dataset="$dataset" --set data.train_limit="$images" --set pretrain.epochs="$epochs" >"$out-$name.log" 2>&1 || { cat "$out-$name.log" >&2; exit 1; }
  rm -f "$out-$name.log"
done < <(field)

python3 - "$out" <<'END'
import json, math, os, sys

print("| network | parameters | loss, first and last epoch of pretrain | zeros after retrain | seconds |\n|---|---|---|---|---|")
wrong = []
for name in sorted(os.listdir(sys.argv[1])):
    folder = os.path.join(sys.argv[1], name)
    report = json.load(open(folder + "/report.json"))
    rows = [json.loads(line) for line in open(folder + "/metrics.jsonl")]
    loss = [row["train/loss"] for row in rows if row["stage"] == "pretrain" and "val/clean_acc" in row]
    layers = report["sparsity"]["layers"]
    exact = all(l["zeros"] == math.ceil(0.5 * (l["numel"] - 1)) for l in layers)
    if not exact or loss[-1] >= loss[0]:
        wrong.append(name)
    zeros = f"{sum(l['zeros'] for l in layers)} of {sum(l['numel'] for l in layers)}"
    print(f"| {name} | {report['parameters']} | {loss[0]:.3f}, {loss[-1]:.3f} | {zeros}{', exact' if exact else ', NOT exact'} | {sum(s['seconds'] for s in report['stages']):.0f} |")
if wrong:
    sys.exit("wrong: " + ", ".join(wrong))
END
