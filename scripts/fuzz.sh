#!/bin/bash
# Fuzz every parser for long:
#   scripts/fuzz.sh [SECONDS] [CORPUS]      default: 900 for each target, on all cores; corpora stay in build/fuzz for the next time
# No process may have more than 6 GiB of address space, libtorch's 3 included. An input that fails is written to testdata/fuzz of its package,
# where the tests try it from then on; the script ends with 1 and the names of the targets.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-900}
corpus=$(mkdir -p "${2:-build/fuzz}" && cd "${2:-build/fuzz}" && pwd)
export LD_LIBRARY_PATH=$PWD/cgo/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
failed=() total=0
TIMEFORMAT='%U %S'

fuzz() { # target, package: true unless an input failed; go's fuzzing itself misses its own deadline now and then, which is no finding
  go test -run '^$' -fuzz "^$1\$" -fuzztime "${seconds}s" -fuzzminimizetime 10x -exec 'bash -c '\''ulimit -v 6291456; exec "$@"'\'' -' "$2" \
    -args "-test.fuzzcachedir=$corpus" >"$log" 2>&1 || { grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input' "$log"; }
}

while IFS=: read -r file name; do
  name=${name#func } name=${name%%(*} package=$(dirname "$file")
  log=$corpus/$name.log
  if spent=$({ time fuzz "$name" "$package"; } 2>&1); then
    spent=$(awk '{ printf "%.0f", $1 + $2 }' <<<"$spent") total=$((total + spent))
    echo "$package $name: $(grep '^fuzz: elapsed' "$log" | tail -n 1 | sed 's/^fuzz: //'), $spent s of the processor"
  else
    failed+=("$name")
    tail -n 20 "$log"
  fi
done < <(grep -roE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+\(' . | sort)
echo "$total s of the processor, $(find "$corpus" -type f ! -name '*.log' | wc -l) inputs kept in $corpus"
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
