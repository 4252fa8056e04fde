# Sourced by container_replay.sh, which says what is in: store, stage_layers, environment, workdir, entrypoint. Runs the image as a cluster
# with strict rules would, and stops at the first thing that is not as it should be.
# shellcheck shell=bash disable=SC2154

proved=()
prove() { proved+=("$*"); say "ok: $*"; }
not() { ! "$@"; }
expect() { # what, a command that tells whether it is so
  "${@:2}" && return
  if [ -s "$log" ]; then tail -n 20 "$log" >&2; fi
  die "NOT so: $1"
}

# container runs a command of the image as process 1 of new pid, mount, ipc, uts and network namespaces. Volumes are HOST:INSIDE or
# HOST:INSIDE:ro. It ends its shell.
container() { # number of volumes, volumes, command ..
  exec unshare --mount --pid --ipc --uts --net --fork --kill-child bash -euc 'enter "$@"' _ \
    "$store/tree" "${stage_layers[cpu]}" "$workdir" "${#environment[@]}" "${environment[@]}" "$@" </dev/null
}

enter() {
  local tree=$1 layers=$2 workdir=$3 variables=$4 environment volumes volume host inside mode
  environment=("${@:5:variables}")
  shift $((4 + variables))
  volumes=("${@:2:$1}")
  shift $((1 + $1))
  mount_tree "$tree" "$layers"
  mount_system "$tree"
  mount -t tmpfs -o nosuid,nodev,noexec,mode=1777,size=1g tmp "$tree/tmp"
  for volume in "${volumes[@]}"; do
    IFS=: read -r host inside mode <<<"$volume"
    mount --bind "$host" "$tree$inside"
    if [ "$mode" = ro ]; then mount -o remount,ro,bind "$tree$inside"; fi
  done
  exec chroot "$tree" setpriv --reuid 123456 --regid 0 --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all \
    env -i -C "$workdir" "${environment[@]}" "$@"
}
export -f enter

runs=$store/runs data=$store/data cache=$store/cache log=$store/log
rm -rf "$runs" "$data" "$cache" "$log"
# As a volume for an arbitrary user comes: of group 0, which may write to it.
install -d -o 0 -g 0 -m 0775 "$runs" "$data" "$cache"
volumes=(2 "$runs:/workspace/runs" "$data:/workspace/data:ro")
in_image() { (container "${volumes[@]}" "$@") >"$log" 2>&1; }

# ---- who and where it is ------------------------------------------------------------------------------------------------

# shellcheck disable=SC2016 # for the shell inside
expect "the root is read-only, /tmp and /workspace/runs are not" in_image sh -ec '
  echo "$$ $(id -u):$(id -g) $HOME"
  for path in /opt/x /workspace/x /workspace/data/x /etc/x; do if touch $path; then echo "$path can be written"; exit 1; fi; done
  if getent passwd "$(id -u)"; then exit 1; fi
  touch /tmp/x runs/x; rm runs/x'
expect "it is process 1 of user 123456, group 0, with a home" grep -q '^1 123456:0 /workspace$' "$log"
prove "process 1, user 123456:0 without an entry in /etc/passwd, HOME=/workspace; only /tmp and /workspace/runs can be written"

expect "rapt version" in_image "${entrypoint[@]}" version
prove "rapt version: $(head -n 1 "$log")"
expect "rapt doctor" in_image "${entrypoint[@]}" doctor
prove "rapt doctor finds no problem: $(grep -m 1 -i libtorch "$log")"

# ---- a run that is stopped, and goes on --------------------------------------------------------------------------------------

short=(run /opt/rapt/configs/quickstart.yaml --set data.train_limit=1500 --set data.test_limit=300 --set data.batch_size=32 --set adversary.steps=2
  --set pretrain.epochs=4 --set admm.epochs=1 --set retrain.epochs=1 --set 'evaluate.baselines=[]' --set 'evaluate.attacks=[pgd-5]')
folder=$runs/quickstart

wait_for() { # seconds, command; also ends when the container does
  local deadline=$((SECONDS + $1))
  until "${@:2}"; do
    if [ "$SECONDS" -ge "$deadline" ] || ! kill -0 "$outer" 2>/dev/null; then return 1; fi
    sleep 0.2
  done
}
epochs() { [ "$(grep -c ' epoch stage=' "$log")" -ge "$1" ]; }
status() { sed -n "s/^$1:[ \t]*//p" "/proc/$inner/status" | tr '\t' ' '; }

(container "${volumes[@]}" "${entrypoint[@]}" "${short[@]}") >"$log" 2>&1 &
outer=$!
expect "a run gets through two epochs" wait_for 1200 epochs 2
inner=$(cut -d ' ' -f 1 "/proc/$outer/task/$outer/children")
expect "process 1 is rapt, and not $(tr '\0' ' ' <"/proc/$inner/cmdline")" test "$(cat "/proc/$inner/comm")" = rapt
expect "rapt is process 1: NSpid is $(status NSpid)" test "$(status NSpid | grep -o '[0-9]*$')" = 1
expect "it is not root" grep -q '^123456 ' <<<"$(status Uid)"
expect "it has no capabilities" test "$(status CapEff)$(status CapBnd)" = 00000000000000000000000000000000
expect "its root is read-only" grep -q ' / / ro' "/proc/$inner/mountinfo"
prove "in the run, process 1 is rapt itself, without capabilities, on a read-only root"

from=$SECONDS code=0
kill -TERM "$inner"
wait "$outer" || code=$?
took=$((SECONDS - from))
expect "SIGTERM ends it with 143, and not with $code" test "$code" = 143
expect "it was not the signal itself that ended it" grep -q 'terminated: stopping at the next step' "$log"
expect "it ends within the 30 s of --stop-timeout, and not after $took" test "$took" -le 30
expect "it has saved" test -s "$folder/checkpoints/pretrain/last.safetensors"
expect "it is not done" test ! -e "$folder/DONE"
prove "SIGTERM in epoch $(($(grep -c ' epoch stage=' "$log") + 1)): saved, and exit code 143 after $took s"

expect "the same command goes on" in_image "${entrypoint[@]}" "${short[@]}"
expect "it went on, and did not begin anew" grep -q 'going on' "$log"
expect "it is done" test -e "$folder/DONE"
prove "the same command went on and ended with DONE: $(grep -m 1 'going on' "$log" | cut -d ' ' -f 2-)"

# ---- images of one's own, whose decoded form is kept in the user's cache folder --------------------------------------------------

cp datasets/testdata/small.tar.xz "$data/"
cat >"$data/pictures.yaml" <<'YAML'
run: {name: pictures}
data: {dataset: image_folder, dir: /workspace/data/small.tar.xz, size: 32, batch_size: 4, validation: 2}
model: {arch: resnet18_1by16}
pretrain: {epochs: 1}
adversary: {epsilon: 8/255, steps: 2}
evaluate: {attacks: [pgd-2]}
YAML
chmod 0644 "$data"/*
pictures=(run /workspace/data/pictures.yaml --overwrite)
expect "a run on images" in_image "${entrypoint[@]}" "${pictures[@]}"
expect "it says that the cache folder cannot be written" grep -q 'decoded at every start' "$log"
prove "images are read without a cache volume, and the log says so"
volumes=(3 "${volumes[@]:1}" "$cache:/workspace/.cache")
expect "a run on images, with a cache" in_image "${entrypoint[@]}" "${pictures[@]}"
expect "images are kept in the cache volume" test "$(find "$cache" -name '*.images' | wc -l)" = 1
expect "nothing says that they are not" not grep -q 'decoded at every start' "$log"
prove "with a volume at /workspace/.cache they are kept there"

printf '\nSeen to hold, in a replay of the Dockerfile'"'"'s stages %s:\n' "${wanted[*]}"
printf '  - %s\n' "${proved[@]}"
cat <<'TEXT'
This was no container engine: the base was debootstrap's and not the published image, there was no seccomp or AppArmor profile and no cgroup
limit, and labels, the shape of the final image, and the target cuda were not tried.
TEXT
