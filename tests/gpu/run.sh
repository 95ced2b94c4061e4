#!/bin/bash
# Leases a real NVIDIA GPU to a real container, in which a CUDA program computes on it. Then leases
# shares of the GPU to two containers at the same time, by MPS.
#
#   run.sh DIR [OUT]    `make gpu-check` makes DIR: the programs, runc and CUDA programs, all built
#                       elsewhere. OUT gets the outputs (default: a temporary directory).
#
# Needs root, an NVIDIA GPU and its driver, but no other software of NVIDIA and no installed
# gpulease. It changes no setting of the GPU, and writes only below /run/gpulease-gpu-check and OUT.
# It prints the checks to stdout and to OUT/results.jsonl, a line of JSON each, and all else to
# stderr. MPS needs the driver's nvidia-cuda-mps-control; without it that part is skipped. Exit
# status 0 means that every expectation held; 77 that there is no GPU here, or that this machine
# allows no containers. Then everything that needs neither was checked.
#   GPU_CHECK_DRIVER_ROOT=DIR   the directory of the driver's files, if not /
# shellcheck disable=SC2317  # `check` calls functions by name
set -uo pipefail

die() { printf 'gpu-check: %s\n' "$*" >&2; exit 1; }

[ -x "${1-}/gpulease" ] || die "usage: run.sh DIR [OUT]; make gpu-check makes DIR"
[ "$(id -u)" = 0 ] || die "this needs root, for it makes containers"
bin=$(readlink -f "$1")
out=${2:-$(mktemp -d)}
mkdir -p "$out"
work=/run/gpulease-gpu-check
rm -rf --one-file-system "$work"
mkdir -m 0755 "$work"
trap 'rm -rf --one-file-system "$work"' EXIT

root=${GPU_CHECK_DRIVER_ROOT:-/}
cat >"$work/config.toml" <<EOF
runtime = "$bin/runc"
run_dir = "$work/run"
devices_file = "$work/devices.toml"
driver = "native"
driver_root = "$root"
mps = { compute_mode = "keep", stop_grace = "1s" }
EOF
export GPULEASE_CONFIG=$work/config.toml LD_LIBRARY_PATH=$bin/lib

results=$out/results.jsonl
: >"$results"
failed=0
tell() { printf '%s\n' "$*" | tee -a "$results"; }
check() {
    local what=$1 ok=true
    shift
    "$@" || ok=false
    [ "$ok" = true ] || failed=1
    tell "{\"check\": \"$what\", \"ok\": $ok}"
}
show() { cat "$@" >&2; }
skip() {
    # The checks so far decide the exit status.
    tell "{\"skipped\": \"$1\"}"
    [ "$failed" = 0 ] && exit 77
    exit 1
}
has() { grep -q -- "$2" "$out/$1"; }
lacks() { ! grep -q -- "$2" "$out/$1"; }

# ---- the node ----

"$bin/gpulease" inventory refresh >"$out/refresh" 2>&1
show "$out/refresh"
for view in devices topology driver memory processes; do
    "$bin/gpulease" "$view" >"$out/$view" 2>&1 || { show "$out/$view"; failed=1; }
    "$bin/gpulease" "$view" --json >"$out/$view.json" 2>&1 || failed=1
done
show "$out/devices" "$out/driver"
has devices.json '"vendor": *"nvidia"' || skip "there is no NVIDIA GPU here that the driver serves"
check "the devices are read by NVML" has refresh 'read from .*NVML'
check "each has a UUID of the driver's" has devices.json '"uuid": *"GPU-[0-9a-f]\{8\}-'
check "each has its memory" lacks devices.json '"memory_total_bytes": *null'
check "none is simulated" lacks devices.json '"simulated": *true'

# ---- a root file system with a C library and no file of NVIDIA's ----

rootfs=$work/rootfs
mkdir -p "$rootfs"/{proc,dev,sys,tmp,etc,usr/bin,usr/lib}
put() {
    # Copies a file to the path at which the loader finds it, with links followed.
    mkdir -p "$rootfs$(dirname "$1")"
    cp -L "$1" "$rootfs$1"
}
libraries() { LD_LIBRARY_PATH='' ldd "$1" | grep -o '/[^ ]*'; }
for library in $(libraries "$bin/cuda-check") $(ldconfig -p | grep -o '/[^ ]*/lib\(m\|dl\|rt\|pthread\)\.so\.[0-9]*$'); do
    put "$library"
done
cp "$bin/cuda-check" "$bin/cuda-share" "$bin/busybox" "$rootfs/usr/bin/"
ln -s busybox "$rootfs/usr/bin/sh"

dir=$work/bundle
bundle() {
    # bundle ANNOTATIONS ARG...: makes $dir/config.json for a container that runs the arguments.
    local annotations=$1 args='' arg
    shift
    for arg in "$@"; do args="$args${args:+, }\"$arg\""; done
    mkdir -p "$dir"
    cat >"$dir/config.json" <<EOF
{ "ociVersion": "1.0.2", "annotations": { $annotations },
  "process": { "args": [$args], "cwd": "/", "user": {"uid": 0, "gid": 0},
    "env": ["PATH=/usr/bin", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"],
    "capabilities": {"bounding": [], "effective": [], "permitted": []} },
  "root": {"path": "$rootfs"},
  "mounts": [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "nodev"]}],
  "linux": { "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}],
    "resources": {"devices": [{"allow": false, "access": "rwm"}]} } }
EOF
}
run() {
    # run NAME OUTPUT: runs the bundle by the shim, as an engine does.
    "$bin/gpulease-runtime" --root "$work/state" run --bundle "$dir" "$1" >"$out/$2" 2>&1
}

bundle '' busybox true
if ! "$bin/runc" --root "$work/state" run --bundle "$dir" plain >"$out/plain" 2>&1; then
    show "$out/plain"
    skip "this machine allows no containers, so none got a GPU"
fi

# ---- a container with a GPU ----

count='"gpulease/count": "1"'
bundle "$count" nvidia-smi -L
run smi smi
show "$out/smi"
check "nvidia-smi sees one GPU in the container" [ "$(grep -c '^GPU ' "$out/smi")" = 1 ]

bundle "$count" cuda-check
run cuda cuda
show "$out/cuda"
check "a CUDA program computes there" has cuda 'all right'
check "the program sees one device" has cuda '^devices: 1$'

bundle '' cuda-check
run none none
check "without a request the driver is not there" has none 'libcuda.so.1'

# The container writes this file, so it shows the view of a process in it.
bundle "$count" sh -c 'ls /dev | busybox grep nvidia; echo; busybox cat /proc/driver/nvidia/gpus/*/information 2>/dev/null | busybox grep -c UUID; busybox grep -c libcuda /proc/self/mountinfo; busybox touch /usr/bin/nvidia-smi 2>&1'
run look look
show "$out/look"
check "the driver's files are read-only" has look 'Read-only'
check "no other GPU's entry in procfs can be read" has look '^1$'

total=$(grep -c '"uuid"' "$out/devices.json")
bundle "\"gpulease/count\": \"all\"" busybox sleep 30
"$bin/gpulease-runtime" --root "$work/state" run --bundle "$dir" holder >"$out/holder" 2>&1 &
for _ in $(seq 50); do
    "$bin/gpulease" leases 2>/dev/null | grep -q bound && break
    sleep 0.1
done
bundle "$count" busybox true
run late late
check "with all $total GPUs leased, one more is refused" has late 'nothing-free\|no-capacity\|held'
show "$out/late"
"$bin/runc" --root "$work/state" kill holder KILL
wait
bundle "$count" cuda-check
run after after
check "after the holder is killed, the next container gets a GPU" has after 'all right'

# ---- two containers with shares of one GPU ----

has_control() {
    local below
    for below in usr/bin bin usr/local/bin opt/bin; do
        [ -x "$root/$below/nvidia-cuda-mps-control" ] && return
    done
    false
}
has_control || skip "the driver has no nvidia-cuda-mps-control, so no share was tried"

# 40 percent of the threads and 2 GiB each.
mps='"gpulease/isolation": "mps", "gpulease/compute": "0.4", "gpulease/memory": "2Gi", "gpulease/devices": "0"'
bundle "$mps" cuda-share 3072 1
run beyond beyond
show "$out/beyond"
check "memory beyond the share is refused" has beyond '"allocated": false'

share() {
    # share NAME: runs a share in the background, in a separate bundle.
    dir=$work/$1
    bundle "$mps" cuda-share 1024 8
    run "$1" "$1" &
}
share one
share two
sleep 4
"$bin/gpulease" leases --json >"$out/shares.json" 2>&1
"$bin/gpulease" mps status >"$out/mps" 2>&1
dir=$work/bundle
bundle "$mps" busybox true
run third third
wait
show "$out/one" "$out/two" "$out/mps" "$out/third"
check "the first gets memory within its share" has one '"allocated": true'
check "the second gets memory within its share" has two '"allocated": true'
check "both leases are by MPS" [ "$(grep -c '"effective": "mps"' "$out/shares.json")" = 2 ]
check "a third share of that size is refused" has third 'no-capacity'

seconds() { grep -o '"[0-9]\{9,\}": [1-9][0-9]*' "$out/$1" | cut -d: -f1 | sort; }
both=$(comm -12 <(seconds one) <(seconds two) | wc -l)
tell "{\"both_worked_in_seconds\": $both}"
check "both make progress at the same time" [ "$both" -ge 3 ]

no_daemon() {
    # The directory of gpulease's daemons is gone when they are.
    for _ in $(seq 100); do
        find "$work/run/mps" -name journal.json 2>/dev/null | grep -q . || return 0
        sleep 0.1
    done
    false
}
check "no MPS daemon is left after the last lease" no_daemon

tell "{\"failed\": $failed, \"outputs\": \"$out\"}"
exit "$failed"
