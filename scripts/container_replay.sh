#!/usr/bin/env bash
# Replays the Dockerfile's target cpu where there is no container engine, and shows that the image does what it should:
#   sudo scripts/container_replay.sh [--fresh]
# The instructions are read from the Dockerfile; one that is not known here is refused. Each becomes a layer of an overlay over a tree made
# by debootstrap, and stays in $REPLAY_DIR (/tmp/rapt-replay) for the next time; --fresh begins anew. Then scripts/container_checks.sh runs
# the entry point as process 1 of new namespaces: read-only root, user 123456, group 0, no capabilities, no network.
#
# $MIRROR is Debian's, with all that reaches it and Go's modules taken from this environment (http_proxy, GOPROXY, ..); $REPLAY_CA is a
# file of certificates to trust while building, where the network needs its own.
set -euo pipefail
export LC_ALL=C # points in numbers
umask 022
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
store=${REPLAY_DIR:-/tmp/rapt-replay}
mirror=${MIRROR:-http://deb.debian.org/debian}
wanted=(cpu-build cpu)

say() { printf '== %s\n' "$*"; }
die() { printf 'container_replay.sh: %s\n' "$*" >&2; exit 1; }

check_tools() {
  local tool missing=()
  [ "$(id -u)" = 0 ] || die "this mounts file systems and changes roots: it must run as root"
  for tool in debootstrap unshare setpriv git sha256sum tar; do
    command -v "$tool" >/dev/null || missing+=("$tool")
  done
  [ ${#missing[@]} -eq 0 ] || die "missing: ${missing[*]} (Debian: apt-get install debootstrap util-linux git)"
  grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null || die "this kernel has no overlay file system"
}

digest() { sha256sum | cut -c 1-16; }

# ---- inside new mount namespaces ----------------------------------------------------------------------------------------

mount_tree() { # where, layers (the upper ones first), a folder for what changes or nothing for a read-only tree
  local options=lowerdir=$2
  if [ -n "${3:-}" ]; then options+=,upperdir=$3,workdir=$3.work; else options+=,ro; fi
  mount -t overlay overlay -o "$options" "$1"
}

mount_system() { # tree: what a container finds in /proc, /sys and /dev
  local name
  mount -t proc -o nosuid,nodev,noexec proc "$1/proc"
  mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$1/sys"
  mount -t tmpfs -o nosuid,mode=755,size=1m dev "$1/dev"
  for name in null zero full random urandom; do
    : >"$1/dev/$name"
    mount --bind "/dev/$name" "$1/dev/$name"
  done
  ln -s /proc/self/fd "$1/dev/fd"
  mkdir "$1/dev/shm"
  mount -t tmpfs -o nosuid,nodev,noexec,mode=1777,size=64m shm "$1/dev/shm"
}

# A RUN: the command in a shell, as root, its changes into the new layer.
run_in_layer() { # tree, layers, upper, workdir, command, NAME=VALUE ..
  local tree=$1 workdir=$4 command=$5 file
  mount_tree "$tree" "$2" "$3"
  mount_system "$tree"
  for file in resolv.conf hosts; do mount --bind "/etc/$file" "$tree/etc/$file"; done
  if [ -n "${REPLAY_CA:-}" ]; then cp "$REPLAY_CA" "$tree/dev/ca.crt"; fi
  exec env -i "${@:6}" chroot "$tree" /bin/sh -c "cd '$workdir' || exit 1; $command"
}
export -f mount_tree mount_system run_in_layer

# ---- layers ---------------------------------------------------------------------------------------------------------------

# layer makes one, unless it is there from an earlier time: key is all that it depends on. Its folder is made under another name and
# renamed, so that one that was interrupted does not count.
layer() { # key, function, arguments: the function gets the folder first
  local folder=$store/layers/$1
  if [ ! -d "$folder" ]; then
    rm -rf "$folder.new" "$folder.new.work"
    mkdir -p "$folder.new" "$folder.new.work"
    "$2" "$folder.new" "${@:3}"
    rm -rf "$folder.new.work"
    mv "$folder.new" "$folder"
  else
    say "  kept from before"
  fi
  layers=$folder${layers:+:$layers}
}

make_base() { # folder, suite
  debootstrap --variant=minbase "$2" "$1" "$mirror" >"$store/debootstrap.log" 2>&1 ||
    { tail -n 5 "$store/debootstrap.log" >&2; die "debootstrap failed (all of it: $store/debootstrap.log)"; }
  rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/archives/*.deb
  echo force-unsafe-io >"$1/etc/dpkg/dpkg.cfg.d/docker-apt-speedup" # as the published image has it
  touch "$1/etc/hosts" "$1/etc/resolv.conf"
}

make_run() { # folder, command
  unshare --mount --pid --ipc --uts --fork --kill-child bash -euc 'run_in_layer "$@"' _ \
    "$store/tree" "$layers" "$1" "$workdir" "$2" "${environment[@]}" "${build_environment[@]}" </dev/null
}

# A COPY, of the kinds that the Dockerfile has: files into a folder (a / at its end), a file to a name, a folder's content.
make_copy() { # folder, tree to copy from, destination, sources
  local to=$1$3 source
  if [ ! -d "$1" ]; then die "there is no $1"; fi
  for source in "${@:4}"; do
    if [ -d "$2/$source" ]; then
      mkdir -p "$to"
      cp -a "$2/$source/." "$to/"
    else
      case $3 in
        */) mkdir -p "$to" && cp -a "$2/$source" "$to" ;;
        *) mkdir -p "$(dirname "$to")" && cp -a "$2/$source" "$to" ;;
      esac
    fi
  done
  chown -R 0:0 "$1"
}

make_folder() { mkdir -p "$1$2"; } # a WORKDIR

# ---- the build context ------------------------------------------------------------------------------------------------------

# What git knows: tracked files, and new ones that are not ignored, with the history, as a clone made under a strict umask would have it.
make_context() {
  rm -rf "$store/context"
  (umask 077 && git clone -q "file://$root" "$store/context") || die "git could not clone $root"
  git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
    if [ -e "$file" ] || [ -L "$file" ]; then printf '%s\0' "$file"; fi
  done | tar --null -T - -c | (umask 077 && tar -x -C "$store/context")
  chmod -R go= "$store/context"
}

context_digest() { # files; the version is of the whole
  (
    cd "$store/context"
    find "$@" -path ./.git -prune -o -type f -print0 | sort -z | xargs -0 sha256sum
    if [ "$*" = . ]; then git rev-parse HEAD; fi
  ) | digest
}

# ---- the Dockerfile -----------------------------------------------------------------------------------------------------------

instructions() { # one a line: comments and empty lines left out, continued lines joined
  awk '/^[ \t]*(#|$)/ { next } { line = line $0 } sub(/\\$/, "", line) { next } { print line; line = "" }' Dockerfile
}

expand() { # text, NAME=VALUE ..: $NAME and ${NAME}
  local text=$1 pair name
  for pair in "${@:2}"; do
    name=${pair%%=*}
    text=${text//\$\{$name\}/${pair#*=}}
    text=${text//\$$name/${pair#*=}}
  done
  printf '%s' "$text"
}

declare -A stage_layers=()
arguments=() stage='' layers='' key='' environment=() workdir=/ user=0:0 entrypoint=()
build_environment=(HOME=/root DEBIAN_FRONTEND=noninteractive)

begin_stage() { # image AS name
  stage=$3
  [[ " ${wanted[*]} " == *" $stage "* ]] || { stage=''; return; }
  local image suite
  image=$(expand "$1" "${arguments[@]}")
  suite=${image#debian:} suite=${suite%%-*}
  [[ $image == debian:* ]] || die "stage $stage begins from $image; only Debian can be replayed"
  say "$stage: FROM $image, by debootstrap $suite from $mirror"
  layers='' environment=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin) workdir=/ user=0:0 entrypoint=()
  key=$(printf 'base %s\n' "$suite" | digest)
  layer "$key" make_base "$suite"
}

step() { # what a layer depends on beside those below it, function, arguments
  key=$(printf '%s\n' "$key" "$workdir" "${environment[@]}" "$1" | digest)
  layer "$key" "${@:2}"
  stage_layers[$stage]=$layers
}

copy() { # [--from=STAGE] SOURCE .. DESTINATION
  local from=$store/context content below words=("$@")
  if [[ $1 == --from=* ]]; then
    words=("${@:2}")
    below=${stage_layers[${1#--from=}]:-}
    [ -n "$below" ] || die "COPY $*: that stage was not replayed"
    from=$store/from content=$below
    mount_tree "$from" "$below"
  else
    content=$(context_digest "${words[@]:0:${#words[@]}-1}")
  fi
  local to=${words[-1]}
  [[ $to == /* ]] || to=$workdir/${to#./}
  step "COPY $* $content" make_copy "$from" "$to" "${words[@]:0:${#words[@]}-1}"
  if [ "$from" = "$store/from" ]; then umount "$from"; fi
}

add_environment() { # NAME=VALUE .., whose values have no spaces
  local pair
  for pair in "$@"; do environment+=("$(expand "$pair" "${environment[@]}")"); done
}

instruction() { # word, the rest
  local word=$1 rest=$2 words
  read -ra words <<<"$rest"
  if [ "$word" = FROM ]; then begin_stage "${words[@]}"; return; fi
  if [ -z "$stage" ]; then
    if [ "$word" = ARG ] && [ ${#stage_layers[@]} -eq 0 ]; then arguments+=("$rest"); fi
    return
  fi
  say "$stage: $word $rest"
  case $word in
    RUN)
      [ "$user" = 0:0 ] || die "a RUN after USER is not replayed here: it would run as root"
      step "RUN $rest" make_run "$rest"
      ;;
    COPY) copy "${words[@]}" ;;
    ENV) add_environment "${words[@]}" ;;
    WORKDIR) workdir=$rest; step "WORKDIR $rest" make_folder "$rest" ;;
    USER) user=$rest ;;
    ENTRYPOINT) read -ra entrypoint <<<"$(tr -d '[]",' <<<"$rest")" ;;
    LABEL) ;;
    *) die "the Dockerfile has an instruction that is not replayed here: $word" ;;
  esac
}

outside() { # settings by which this machine reaches Debian's packages and Go's modules
  local name
  for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    if [ -n "${!name:-}" ]; then build_environment+=("$name=${!name}"); fi
  done
  if [ -n "${REPLAY_CA:-}" ]; then build_environment+=(SSL_CERT_FILE=/dev/ca.crt); fi
  command -v go >/dev/null || return 0
  for name in GOPROXY GOSUMDB GONOSUMDB GOPRIVATE GONOPROXY; do
    if [ -n "$(go env "$name")" ]; then build_environment+=("$name=$(go env "$name")"); fi
  done
}

build() {
  local line
  mkdir -p "$store"/{layers,tree,from}
  outside
  make_context
  while IFS= read -r line <&3; do
    instruction "${line%% *}" "${line#* }"
  done 3< <(instructions)
  [ ${#stage_layers[@]} -eq ${#wanted[@]} ] || die "the Dockerfile lacks one of the stages ${wanted[*]}"
  [ "${#entrypoint[@]}" -gt 0 ] || die "the Dockerfile's stage cpu has no ENTRYPOINT"
}

check_tools
case "${1:-}" in
  '') ;;
  --fresh) rm -rf "${store:?}"/{layers,tree,from,context} ;;
  *) die "usage: container_replay.sh [--fresh]" ;;
esac
if [ -z "${REPLAY_INSIDE:-}" ]; then # mounts are gone when this ends, however it does
  REPLAY_INSIDE=yes exec unshare --mount bash "$root/scripts/container_replay.sh"
fi
start=$SECONDS
build
say "the image is there, after $((SECONDS - start)) s"
# shellcheck source=scripts/container_checks.sh
. scripts/container_checks.sh
