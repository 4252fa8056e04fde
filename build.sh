#!/usr/bin/env bash
# Sets up, builds, shows, tests and measures rapt. docs/building.md says what it looks for and which variables it reads.
set -euo pipefail
export LC_ALL=C # what other programs say is read
cd "$(dirname "${BASH_SOURCE[0]}")"
root=$PWD

go_needed=1.25          # the go directive of go.mod
go_release=go1.26.11    # what an older Go is told to fetch, and the release to name where there is none
export GOTOOLCHAIN=${GOTOOLCHAIN:-local} # never let the go command download another Go behind the user's back

usage() {
  cat <<TEXT
usage: ./build.sh [COMMAND]
  (none)   find or install what is missing, build the native library and bin/rapt
  demo     the same, then train, prune and evaluate on the embedded data set
  test     the same, then every check and test
  bench    the same, then the benchmarks against PyTorch (bench --help shows their options)
  deps     only install what is missing
  vulnerabilities  the same, then look whether known vulnerabilities in Go's packages are called
TEXT
}

say() { printf '%s\n' "$*"; }
die() { printf 'build.sh: %s\n' "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }
at_least() { [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; } # at_least 1.25 1.26.11

# ---- libtorch: sets torch_from, torch_dir (empty for the system's), torch_version, torch_cuda -----------------------

torch_header_version() { # of an include folder; newer versions have the first file
  cat "$1"/torch/headeronly/version.h "$1"/torch/csrc/api/include/torch/version.h 2>/dev/null |
    sed -n 's/^#define TORCH_VERSION_\(MAJOR\|MINOR\|PATCH\) *\([0-9]*\).*/\2/p' | head -n 3 | paste -sd . - | grep .
}

# A folder counts when the library is there with its headers. Debian 12's python3-torch, for one, has no headers of its own.
is_torch_folder() { [ -e "$1/lib/libtorch_cpu.so" ] && [ -d "$1/include/ATen" ]; }

use_torch_folder() { # where, folder
  torch_from=$1 torch_dir=$(cd "$2" && pwd -P) torch_cuda=no
  torch_version=$(sed -n "s/^__version__ = '\(.*\)'/\1/p" "$torch_dir/version.py" 2>/dev/null) || true
  [ -n "$torch_version" ] || torch_version=$(cat "$torch_dir/build-version" 2>/dev/null) || true
  [ -n "$torch_version" ] || torch_version=$(torch_header_version "$torch_dir/include") || true
  if [ -e "$torch_dir/lib/libtorch_cuda.so" ]; then torch_cuda=yes; fi
}

find_torch() {
  local folder
  if [ -n "${LIBTORCH:-}" ]; then
    is_torch_folder "$LIBTORCH" ||
      die "LIBTORCH=$LIBTORCH is not a libtorch: lib/libtorch_cpu.so and include/ATen are looked for in it."
    use_torch_folder LIBTORCH "$LIBTORCH"
    return
  fi
  # Asking where the package lies, without importing it, takes milliseconds; from / so that no folder here is mistaken for it.
  folder=$(cd / && python3 -c 'import importlib.util as u
s = u.find_spec("torch")
print(s.submodule_search_locations[0] if s and s.origin else "")' 2>/dev/null) || folder=
  if [ -n "$folder" ] && is_torch_folder "$folder"; then
    use_torch_folder "python3's torch" "$folder"
    return
  fi
  [ -d /usr/include/ATen ] || return 1
  torch_from="the system's" torch_dir='' torch_cuda=no
  torch_version=$(dpkg-query -W -f '${Version}' libtorch-dev 2>/dev/null) || torch_version=$(torch_header_version /usr/include) || true
  torch_version=${torch_version%%[+-]*} # 1.13.1+dfsg-4 is 1.13.1
  if ldconfig -p 2>/dev/null | grep -q 'libtorch_cuda\.so'; then torch_cuda=yes; fi
}

# ---- what is missing, and how to get it -----------------------------------------------------------------------------

missing=()      # Debian package names
installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
candidate() { apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: *\(.*\)/\1/p' | sed '/(none)/d; s/^[0-9]*://; s/[~+-].*//'; }

sudo_works() { has sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }; }

apt() {
  local as_root=(env DEBIAN_FRONTEND=noninteractive)
  [ "$(id -u)" = 0 ] || as_root=(sudo env DEBIAN_FRONTEND=noninteractive)
  "${as_root[@]}" apt-get -q -o Dpkg::Use-Pty=0 "$@" >build/apt.log 2>&1 </dev/null
}
may_install() { has apt-get && { [ "$(id -u)" = 0 ] || sudo_works; }; }

updated=
update_lists() { # at most once a run
  [ -z "$updated" ] || return 0
  may_install || return 1
  updated=yes
  say "build.sh: apt-get update"
  apt update || { tail -n 5 build/apt.log >&2; say "build.sh: apt-get update failed; going on with the package lists at hand." >&2; }
}

no_go() { # what was found
  local arch offer=''
  arch=$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
  if has apt-get; then offer=" This system's golang-go is $(candidate golang-go | grep . || echo unknown)."; fi
  die "Go $go_needed or newer is needed; found: $1.$offer
Get $go_release.linux-$arch.tar.gz from https://go.dev/dl/ and, as root: tar -C /usr/local -xzf $go_release.linux-$arch.tar.gz
(build.sh looks for go in PATH and in /usr/local/go/bin)"
}

# Since 1.21 the go command fetches another release by way of the module proxy, checked against Go's checksum database.
fetches_go() { # version
  at_least 1.21 "$1" || return 1
  export GOTOOLCHAIN=$go_release
  say "build.sh: Go $1 is older than $go_needed: it is to fetch $go_release, as a module into its own cache"
}

check_go() {
  local found=none version
  if ! has go && [ -x /usr/local/go/bin/go ]; then PATH=$PATH:/usr/local/go/bin; fi
  if has go; then
    version=$(cd / && go env GOVERSION)
    version=${version%% *}
    if at_least "$go_needed" "${version#go}" || fetches_go "${version#go}"; then return; fi
    found="$version ($(command -v go))"
  fi
  has apt-get || no_go "$found"
  [ -n "$(candidate golang-go)" ] || update_lists || true
  version=$(candidate golang-go)
  { [ -n "$version" ] && { at_least "$go_needed" "$version" || fetches_go "$version"; }; } || no_go "$found"
  missing+=(golang-go)
}

check_tools() {
  has cmake || missing+=(cmake)
  has ninja || has make || missing+=(ninja-build)
  { has "${CXX:-c++}" && has "${CC:-gcc}"; } || missing+=(g++)
  if ! find_torch; then
    missing+=(libtorch-dev)
  fi
  # The reference BLAS that libtorch-dev would be content with is many times slower.
  if has apt-get && [ -z "${torch_dir:-}" ] && ! installed libopenblas0-pthread && ! installed libopenblas0-openmp && ! installed libmkl-rt; then
    missing+=(libopenblas0-pthread)
  fi
  if [ -n "${want_python:-}" ]; then check_python; fi
  # Go's module downloads need the certificates.
  if has apt-get && [ -z "${SSL_CERT_FILE:-}${SSL_CERT_DIR:-}" ] && [ ! -s /etc/ssl/certs/ca-certificates.crt ]; then
    missing+=(ca-certificates)
  fi
}

# The benchmarks' reference: the first Python that has PyTorch, torchvision and numpy, else one that lacks torchvision alone, which
# a single row needs. Debian's own needs its packages.
check_python() {
  local one all
  for all in 'torch, numpy, torchvision' 'torch, numpy'; do
    for one in ${PYTHON:-python3 /usr/bin/python3}; do
      if (cd / && "$one" -c "import $all") 2>/dev/null; then python=$one; return; fi
    done
  done
  [ -z "${PYTHON:-}" ] || die "PYTHON=$PYTHON cannot import torch and numpy."
  python=/usr/bin/python3
  if has apt-get; then missing+=(python3-torch python3-torchvision python3-numpy); else python=''; fi
}

install_missing() {
  local pkg
  [ ${#missing[@]} -gt 0 ] || return 0
  has apt-get || die "missing (by their Debian names): ${missing[*]}
Install them with this system's package manager. For libtorch, set LIBTORCH to an unpacked libtorch (https://pytorch.org) or install
PyTorch for python3."
  may_install || die "missing: ${missing[*]}
build.sh may not install packages here: it is not root, and sudo is absent or asks for a password. As root:
  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
  for pkg in "${missing[@]}"; do
    [ -n "$(candidate "$pkg")" ] || { update_lists; break; }
  done
  say "build.sh: installing with apt-get: ${missing[*]} (and what they depend on)"
  if ! apt install -y --no-install-recommends "${missing[@]}"; then
    # Old package lists name files that are gone from the mirror: once more with new ones.
    { [ -z "$updated" ] && update_lists && apt install -y --no-install-recommends "${missing[@]}"; } || {
      tail -n 15 build/apt.log >&2
      die "apt-get could not install: ${missing[*]} (the whole output is in build/apt.log)"
    }
  fi
  [ -n "${torch_from:-}" ] || find_torch || die "libtorch-dev is installed, but /usr/include/ATen is not there."
}

prepare() {
  mkdir -p build
  check_go
  check_tools
  install_missing
  local cuda='without CUDA' version
  version=$(cd / && go env GOVERSION 2>&1 | tail -n 1) || no_go "one that cannot fetch $GOTOOLCHAIN ($version)"
  if [ "$torch_cuda" = yes ]; then cuda='with CUDA'; fi
  say "build.sh: libtorch $torch_version, $cuda, $torch_from${torch_dir:+ ($torch_dir)}; $version"
}

# ---- building -------------------------------------------------------------------------------------------------------

configure() { # folder, options: find_package(Torch) first; where its files ask for what is absent (a CUDA toolkit), the folder itself
  local dir=$1
  shift
  local tool=() log=$dir/configure.log
  if has ninja; then tool=(-G Ninja); fi
  if [ -z "$torch_dir" ]; then
    cmake "${tool[@]}" -S cgo/src -B "$dir" "$@" >"$log" 2>&1
    return
  fi
  if [ -d "$torch_dir/share/cmake/Torch" ] &&
    cmake "${tool[@]}" -S cgo/src -B "$dir" -DCMAKE_PREFIX_PATH="$torch_dir/share/cmake" "$@" >"$log" 2>&1; then
    return
  fi
  rm -rf "$dir/CMakeCache.txt" "$dir/CMakeFiles"
  cmake "${tool[@]}" -S cgo/src -B "$dir" -DCGOTORCH_TORCH_ROOT="$torch_dir" "$@" >>"$log" 2>&1
}

# One folder per torch found, so that going back and forth between two of them rebuilds nothing.
shim_dir() { echo "build/$1-$torch_version-$(printf '%s' "$torch_dir" | sha256sum | cut -c 1-8)"; }

build_shim() { # folder, options
  local dir=$1
  mkdir -p "$dir"
  if [ ! -e "$dir/.configured" ]; then
    configure "$@" || { cat "$dir/configure.log" >&2; die "the native library could not be configured (above, and in $dir/configure.log)"; }
    touch "$dir/.configured"
    say "build.sh: compiling the native library in $dir"
  fi
  cmake --build "$dir" --parallel "$(nproc)" >"$dir/build.log" 2>&1 || { cat "$dir/build.log" >&2; die "the native library did not compile"; }
}

install_shim() { # only when it changed, and by a rename: a running program keeps the file it has open
  local new=$1/libcgotorch.so
  mkdir -p cgo/lib
  cmp -s "$new" cgo/lib/libcgotorch.so && return
  cp "$new" cgo/lib/libcgotorch.so.new
  mv -f cgo/lib/libcgotorch.so.new cgo/lib/libcgotorch.so
}

build() {
  prepare
  build_shim "$(shim_dir shim)"
  install_shim "$(shim_dir shim)"
  local version
  version=$(git describe --always --dirty --tags 2>/dev/null) || version=unknown
  [ -e bin/rapt ] || say "build.sh: fetching the Go modules that are missing, compiling bin/rapt"
  go build -buildvcs=false -ldflags "-X main.version=$version" -o bin/rapt ./cmd/rapt 2>build/go.log ||
    { cat build/go.log >&2; die "bin/rapt did not compile"; }
  say "build.sh: bin/rapt is ready"
}

# ---- tests ----------------------------------------------------------------------------------------------------------

passed=0
failed=()
check() { # name, command
  local name=$1 start=$SECONDS
  shift
  say "== $name"
  if "$@"; then
    passed=$((passed + 1))
    say "   ok, $((SECONDS - start)) s"
  else
    failed+=("$name")
    say "   FAILED: $name"
  fi
}

check_gofmt() {
  local files
  files=$(gofmt -l . 2>&1) || true
  [ -z "$files" ] || { say "gofmt would change:" "$files"; return 1; }
}

# The cgo packages once more over a library that is compiled with AddressSanitizer. Leaks are the tests' own matter, which count
# live tensors: a Go program leaves without the exit handlers that would report them. Go keeps its own fault handlers.
check_asan() {
  local dir libasan
  dir=$root/$(shim_dir asan)
  libasan=$(${CXX:-c++} -print-file-name=libasan.so)
  (build_shim "${dir#"$root"/}" -DCGOTORCH_SANITIZE=address) || return 1
  go test -count=1 -exec "env 'LD_PRELOAD=$libasan $dir/libcgotorch.so' ASAN_OPTIONS=detect_leaks=0:handle_segv=0:allocator_may_return_null=1" ./cgo/...
}

# Shrinking each new input for up to a minute, go's default, would leave no time for trying any. An input that fails is written down, and
# fails the next time too; without one it was go's fuzzing itself, which on a busy machine misses its own deadline now and then: tried thrice.
fuzz() { # folder, target
  timeout 120 go test -run '^$' -fuzz "^$2\$" -fuzztime 4s -fuzzminimizetime 10x "$1" 2>&1 | tee build/fuzz.log
}
check_fuzz() {
  local file name tries ran=0
  while IFS=: read -r file name; do
    name=${name#func }
    name=${name%%(*}
    tries=1
    until fuzz "./$(dirname "$file")" "$name"; do
      if grep -q "Failing input" build/fuzz.log || [ $((tries += 1)) -gt 3 ]; then return 1; fi
    done
    ran=$((ran + 1))
  done < <(grep -roE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+\(' .)
  [ "$ran" -gt 0 ] || { say "no target was found"; return 1; }
}

# The database is $VULNDB: an address, file:///a/copy, or a version of the module that its sources are; otherwise https://vuln.go.dev or,
# where only a module proxy can be reached, the newest module. Prints where it is, or why there is none.
vulnerability_db() {
  local module folder
  case ${VULNDB:-} in
    *://*) echo "$VULNDB"; return ;;
    '') if curl -fsS -m 15 -o /dev/null https://vuln.go.dev/index/db.json 2>/dev/null; then echo https://vuln.go.dev; return; fi ;;
  esac
  module=$(cd / && go mod download -json "golang.org/x/vulndb@${VULNDB:-latest}" 2>&1) || true
  folder=$(sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p' <<<"$module")
  if [ -n "$folder" ]; then echo "file://$folder/data/osv"; return; fi
  { sed -n 's/^\t"Error": "\(.*\)",*$/\1/p' <<<"$module" | grep . || echo "$module"; } | tail -n 1
  return 1
}

# What the standard library is known for goes with the Go that is installed: it is shown, and fails nothing.
check_vulnerabilities() {
  local db log=build/vulnerabilities.log rc=0
  if ! db=$(vulnerability_db); then
    say "   SKIPPED: the database cannot be had ($db); it runs where https://vuln.go.dev or a module proxy can be reached, or with VULNDB=file:///a/copy"
    return
  fi
  say "   $db"
  go tool govulncheck -db "$db" ./... >"$log" 2>&1 || rc=$?
  grep -E '^Vulnerability|^ +(Module:|Standard library|Found in:|Fixed in:)|^(Your code|No vuln)' "$log" || rc=1
  case $rc in
    0) ;;
    3) ! grep -q '^Your code is affected by .* from [0-9]* module' "$log" ;;
    *) cat "$log"; return 1 ;;
  esac
}

run_tests() {
  export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1
  local start=$SECONDS
  check "gofmt" check_gofmt
  check "go vet" go vet ./...
  check "staticcheck" go tool staticcheck ./...
  check "tests" go test -count=1 -p $(($(nproc) + 1)) -timeout 30m ./... # one more than cores: the jobs under Slurm mostly wait
  # The packages that start goroutines; what these call runs in them and is watched too. The program that other tests start is not.
  check "tests with the race detector" go test -count=1 -short -race -timeout 30m ./cgo/... ./datasets ./trainer ./trainer/checkpoint ./trainer/metrics
  check "cgo tests, native library under AddressSanitizer" check_asan
  check "fuzzing, 4 s for each parser" check_fuzz
  printf "\n"
  say "checks: $passed passed, ${#failed[@]} failed"
  say "build.sh test: $((SECONDS - start)) s"
  [ ${#failed[@]} -eq 0 ] || die "failed: $(printf '%s; ' "${failed[@]}")"
}

run_bench() {
  go build -buildvcs=false -o build/bench/ ./bench 2>build/go.log || { cat build/go.log >&2; die "the benchmarks did not compile"; }
  exec env PYTHON="$python" build/bench/bench "$@"
}

case "${1:-}" in
  '') build ;;
  demo)
    build
    exec bin/rapt run configs/quickstart.yaml --overwrite "${@:2}"
    ;;
  test)
    if has apt-get && may_install; then want_python=yes; fi # else the benchmarks' reference is not tested, and says so
    build
    run_tests
    ;;
  bench)
    want_python=yes
    build
    run_bench "${@:2}"
    ;;
  deps) prepare ;;
  vulnerabilities)
    prepare
    check "known vulnerabilities" check_vulnerabilities
    [ ${#failed[@]} -eq 0 ] || die "failed: ${failed[*]} (all that was found: build/vulnerabilities.log)"
    ;;
  -h | --help | help) usage ;;
  *)
    usage >&2
    exit 2
    ;;
esac
