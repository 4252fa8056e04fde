#!/bin/bash
# Fuzz every parser for long:
#   scripts/fuzz.sh [SECONDS] [CORPORA] [TARGET ...]      default: 900 for each of all targets, on all cores; corpora stay in build/fuzz for the next time
#   scripts/fuzz.sh pack [CORPORA]                        puts them into scripts/fuzz_corpora.tar.xz, which a folder that is not there yet begins with
# No process may have more than 6 GiB of address space, libtorch's 3 included. An input that fails is written to testdata/fuzz of its package,
# where the tests try it from then on; the script ends with 1 and the names of the targets.
set -euo pipefail
export LC_ALL=C # points in numbers
cd "$(dirname "$0")/.."
seconds=${1:-900} kept=$PWD/scripts/fuzz_corpora.tar.xz
if [ "$seconds" = pack ]; then
  tar c -C "${2:-build/fuzz}" --exclude='*.log' --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner . | xz -9e >"$kept.new"
  mv "$kept.new" "$kept"
  exit
fi
new=$([ -e "${2:-build/fuzz}" ] || echo yes)
corpus=$(mkdir -p "${2:-build/fuzz}" && cd "${2:-build/fuzz}" && pwd)
if [ -n "$new" ] && [ -e "$kept" ]; then tar x -C "$corpus" -f "$kept"; fi
export LD_LIBRARY_PATH=$PWD/cgo/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
failed=() ran=0 total=0 wanted=" ${*:3} "
TIMEFORMAT='%U %S'

fuzz() { # target, package: true unless an input failed; go's fuzzing itself misses its own deadline now and then, which is no finding
  go test -run '^$' -fuzz "^$1\$" -fuzztime "${seconds}s" -fuzzminimizetime 10x -exec 'bash -c '\''ulimit -v 6291456; exec "$@"'\'' -' "$2" \
    -args "-test.fuzzcachedir=$corpus" >"$log" 2>&1 || { grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input' "$log"; }
}

while IFS=: read -r file name; do
  name=${name#func } name=${name%%(*} package=$(dirname "$file")
  if [ $# -gt 2 ] && [[ $wanted != *" $name "* ]]; then continue; fi
  log=$corpus/$name.log ran=$((ran + 1))
  if spent=$({ time fuzz "$name" "$package"; } 2>&1); then
    spent=$(awk '{ printf "%.0f", $1 + $2 }' <<<"$spent") total=$((total + spent))
    echo "$package $name: $(grep '^fuzz: elapsed' "$log" | tail -n 1 | sed 's/^fuzz: //'), $spent s of the processor"
  else
    failed+=("$name")
    tail -n 20 "$log"
  fi
done < <(grep -roE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+\(' . | sort)
[ "$ran" -gt 0 ] || { echo "fuzz.sh: no such target:$wanted" >&2; exit 2; }
echo "$total s of the processor, $(find "$corpus" -type f ! -name '*.log' | wc -l) inputs kept in $corpus"
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
