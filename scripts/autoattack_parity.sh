#!/bin/bash
# Attack a checkpoint by rapt's autoattack and by the published code, on the same images, with one thread each, one after the other.
#
#     scripts/autoattack_parity.sh CHECKPOINT --package DIR --data DIR [--eps 0.3] [--limit 1000] [--device cpu]
#
# DIR of --package holds the folder autoattack of github.com/fra31/auto-attack, that of --data the data set's files. The norm is the
# checkpoint's own. Needs bin/rapt, and python3 ($PYTHON names another) with torch, torchvision and numpy. Prints both side by
# side; exits with 3 where clean accuracies differ, or an accuracy after an attack by more than half a point.
set -euo pipefail
cd "$(dirname "$0")/.."
usage() { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ $# -ge 1 ] || usage
checkpoint=$1; shift
eps=0.3 limit=1000 device=cpu package='' data=''
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
        --package) package=$2 ;;
        --data) data=$2 ;;
        --eps) eps=$2 ;;
        --limit) limit=$2 ;;
        --device) device=$2 ;;
        *) usage ;;
    esac
    shift 2
done
[ -n "$package" ] && [ -n "$data" ] || usage
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
python=${PYTHON:-python3}
bin/rapt predict "$checkpoint" --images --data-dir "$data" --limit "$limit" --out "$out/test.safetensors" --device cpu > "$out/log" 2>&1 || { cat "$out/log" >&2; exit 1; }
"$python" scripts/autoattack_parity.py "$checkpoint" --package "$package" --data "$out/test.safetensors" --eps "$eps" --limit "$limit" --device "$device" > "$out/published.json"
TIMEFORMAT='{"seconds": %R, "user": %U, "system": %S}'
{ time bin/rapt eval "$checkpoint" --attacks autoattack --epsilon "$eps" --data-dir "$data" --limit "$limit" --workers 1 --device "$device" \
    --suspicion=false --state "$out/state" --json > "$out/rapt.json" 2> "$out/log"; } 2> "$out/time.json" || { cat "$out/log" >&2; exit 1; }
"$python" - "$out" <<'END'
import json, sys
published, ours, spent = (json.load(open(f"{sys.argv[1]}/{name}.json")) for name in ("published", "rapt", "time"))
rows = [("clean", published["clean_accuracy"], ours["clean_accuracy"])]
for theirs, mine in zip(published["attacks"], ours["evaluation"]["after"]["autoattack"], strict=True):
    assert theirs["name"] == mine["attack"].split("/")[-1], (theirs, mine)
    rows.append((theirs["name"], theirs["accuracy"], mine["accuracy"]))
for name, a, b in rows:
    print(f"{name:10} published {100 * a:6.2f} %   rapt {100 * b:6.2f} %")
wall, cpu = (sum(a[key] for a in published["attacks"]) for key in ("seconds", "cpu_seconds"))
print(f"attacks, published: {wall:.0f} s, {cpu:.0f} s of the processor; rapt, start-up included: {spent['seconds']:.0f} s, {spent['user'] + spent['system']:.0f} s")
far = [name for i, (name, a, b) in enumerate(rows) if abs(a - b) > (1e-6 if i == 0 else 0.005 + 1e-6)]
if far:
    print("too far apart:", ", ".join(far))
    sys.exit(3)
END
