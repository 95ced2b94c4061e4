#!/bin/bash
# Leases a real NVIDIA GPU to a real container, and has a CUDA program compute on it there; then
# shares of it to two containers at once, by MPS.
#
#   run.sh DIR [OUT]    DIR is what `make gpu-check` made: the programs, runc and a CUDA program,
#                       all built elsewhere. OUT takes the outputs (default: a temporary directory).
#
# As root, on a machine with an NVIDIA GPU and its driver; nothing else of NVIDIA's or of gpulease's
# needs to be installed, and no setting of the GPU is touched. It writes below /run/gpulease-gpu-check
# and OUT only. What was checked is told on stdout and in OUT/results.jsonl, a line of JSON each, and
# all else on stderr. MPS needs the driver's nvidia-cuda-mps-control; without it that part is skipped.
# Exit status 0 means that every expectation held; 77 that there is no GPU here, or that
# this machine lets nobody make containers (what could be seen without one was checked).
#   GPU_CHECK_DRIVER_ROOT=DIR   where the driver's files lie, if not below /
set -uo pipefail

die() { printf 'gpu-check: %s\n' "$*" >&2; exit 1; }

[ -x "${1-}/gpulease" ] || die "usage: run.sh DIR [OUT]; make gpu-check makes DIR"
[ "$(id -u)" = 0 ] || die "root is needed, for containers are made"
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
    # What could be seen until then was checked.
    tell "{\"skipped\": \"$1\"}"
    [ "$failed" = 0 ] && exit 77
    exit 1
}
has() { grep -q -- "$2" "$out/$1"; }
lacks() { ! grep -q -- "$2" "$out/$1"; }

# ---- what the node has ----

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

# ---- a root file system with a C library and nothing of NVIDIA's ----

rootfs=$work/rootfs
mkdir -p "$rootfs"/{proc,dev,sys,tmp,etc,usr/bin,usr/lib}
put() {
    # Where the loader names it, links followed: the directories are those of this host.
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
    # bundle ANNOTATIONS ARG...: a config.json in $dir, for a container that runs the arguments.
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
    # run NAME OUTPUT: by the shim, as an engine calls it.
    "$bin/gpulease-runtime" --root "$work/state" run --bundle "$dir" "$1" >"$out/$2" 2>&1
}

bundle '' busybox true
if ! "$bin/runc" --root "$work/state" run --bundle "$dir" plain >"$out/plain" 2>&1; then
    show "$out/plain"
    skip "this machine lets nobody make containers, so none was given a GPU"
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
check "and sees one device" has cuda '^devices: 1$'

bundle '' cuda-check
run none none
check "without a request the driver is not there" has none 'libcuda.so.1'

# Written by the container, so that what is seen is what a process in it sees.
bundle "$count" sh -c 'ls /dev | busybox grep nvidia; echo; busybox cat /proc/driver/nvidia/gpus/*/information 2>/dev/null | busybox grep -c UUID; busybox grep -c libcuda /proc/self/mountinfo; busybox touch /usr/bin/nvidia-smi 2>&1'
run look look
show "$out/look"
check "the driver's files are read-only" has look 'Read-only'
check "and no other GPU's entry in procfs can be read" has look '^1$'

total=$(grep -c '"uuid"' "$out/devices.json")
bundle "\"gpulease/count\": \"all\"" busybox sleep 30
"$bin/gpulease-runtime" --root "$work/state" run --bundle "$dir" holder >"$out/holder" 2>&1 &
for _ in $(seq 50); do
    "$bin/gpulease" leases 2>/dev/null | grep -q bound && break
    sleep 0.1
done
bundle "$count" busybox true
run late late
check "with all $total of them held, one more is refused" has late 'nothing-free\|no-capacity\|held'
show "$out/late"
"$bin/runc" --root "$work/state" kill holder KILL
wait
bundle "$count" cuda-check
run after after
check "killed, it leaves its GPUs to the next" has after 'all right'

# ---- two containers with shares of one GPU ----

has_control() {
    local below
    for below in usr/bin bin usr/local/bin opt/bin; do
        [ -x "$root/$below/nvidia-cuda-mps-control" ] && return
    done
    false
}
has_control || skip "the driver has no nvidia-cuda-mps-control here, so no share was tried"

# 40 percent of the threads and 2 GiB each.
mps='"gpulease/isolation": "mps", "gpulease/compute": "0.4", "gpulease/memory": "2Gi", "gpulease/devices": "0"'
bundle "$mps" cuda-share 3072 1
run beyond beyond
show "$out/beyond"
check "memory beyond the share is not had" has beyond '"allocated": false'

share() {
    # share NAME: in the background, in a bundle of its own.
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
check "memory within the share is had by one" has one '"allocated": true'
check "and by the other" has two '"allocated": true'
check "both leases are by MPS" [ "$(grep -c '"effective": "mps"' "$out/shares.json")" = 2 ]
check "a third of that size is refused" has third 'no-capacity'

seconds() { grep -o '"[0-9]\{9,\}": [1-9][0-9]*' "$out/$1" | cut -d: -f1 | sort; }
both=$(comm -12 <(seconds one) <(seconds two) | wc -l)
tell "{\"both_worked_in_seconds\": $both}"
check "both make progress at the same time" [ "$both" -ge 3 ]

no_daemon() {
    # Of ours: their directory is gone when they are.
    for _ in $(seq 100); do
        find "$work/run/mps" -name journal.json 2>/dev/null | grep -q . || return 0
        sleep 0.1
    done
    false
}
check "no MPS daemon is left after the last lease" no_daemon

tell "{\"failed\": $failed, \"outputs\": \"$out\"}"
exit "$failed"
