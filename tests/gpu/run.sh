#!/bin/bash
# Leases a real NVIDIA GPU to a real container, and has a CUDA program compute on it there.
#
#   run.sh DIR [OUT]    DIR is what `make gpu-check` made: the programs, runc and a CUDA program,
#                       all built elsewhere. OUT takes the outputs (default: a temporary directory).
#
# As root, on a machine with an NVIDIA GPU and its driver; nothing else of NVIDIA's or of gpulease's
# needs to be installed, and no setting of the GPU is touched. It writes below /run/gpulease-gpu-check
# and OUT only. Exit status 0 means that every expectation held; 77 that there is no GPU here, or that
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
rm -rf "$work"
mkdir -m 0755 "$work"
trap 'rm -rf "$work"' EXIT

root=${GPU_CHECK_DRIVER_ROOT:-/}
cat >"$work/config.toml" <<EOF
runtime = "$bin/runc"
run_dir = "$work/run"
devices_file = "$work/devices.toml"
driver = "native"
driver_root = "$root"
EOF
export GPULEASE_CONFIG=$work/config.toml LD_LIBRARY_PATH=$bin/lib

failed=0
check() {
    local what=$1
    shift
    if "$@"; then
        printf 'ok    %s\n' "$what"
    else
        printf 'FAIL  %s\n' "$what"
        failed=1
    fi
}
has() { grep -q -- "$2" "$out/$1"; }
lacks() { ! grep -q -- "$2" "$out/$1"; }

# ---- what the node has ----

"$bin/gpulease" inventory refresh >"$out/refresh" 2>&1
cat "$out/refresh"
for view in devices topology driver memory processes; do
    "$bin/gpulease" "$view" >"$out/$view" 2>&1 || { cat "$out/$view"; failed=1; }
    "$bin/gpulease" "$view" --json >"$out/$view.json" 2>&1 || failed=1
done
cat "$out/devices" "$out/driver"
if ! has devices.json '"vendor": *"nvidia"'; then
    echo "SKIPPED: there is no NVIDIA GPU here that the driver serves"
    exit 77
fi
check "the devices are read by NVML" has refresh 'read from .*NVML'
check "each has a UUID of the driver's" has devices.json '"uuid": *"GPU-[0-9a-f]\{8\}-'
check "each has its memory" lacks devices.json '"memory_total_bytes": *null'
check "none is simulated" lacks devices.json '"simulated": *true'

# ---- a root file system with a C library and nothing of NVIDIA's ----

rootfs=$work/bundle/rootfs
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
cp "$bin/cuda-check" "$bin/busybox" "$rootfs/usr/bin/"
ln -s busybox "$rootfs/usr/bin/sh"

bundle() {
    # bundle ANNOTATIONS ARG...: a config.json for a container that runs the arguments.
    local annotations=$1 args='' arg
    shift
    for arg in "$@"; do args="$args${args:+, }\"$arg\""; done
    cat >"$work/bundle/config.json" <<EOF
{ "ociVersion": "1.0.2", "annotations": { $annotations },
  "process": { "args": [$args], "cwd": "/", "user": {"uid": 0, "gid": 0},
    "env": ["PATH=/usr/bin", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"],
    "capabilities": {"bounding": [], "effective": [], "permitted": []} },
  "root": {"path": "rootfs"},
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
    "$bin/gpulease-runtime" --root "$work/state" run --bundle "$work/bundle" "$1" >"$out/$2" 2>&1
}

bundle '' busybox true
if ! "$bin/runc" --root "$work/state" run --bundle "$work/bundle" plain >"$out/plain" 2>&1; then
    cat "$out/plain"
    echo "SKIPPED: this machine lets nobody make containers, so none was given a GPU"
    [ "$failed" = 0 ] && exit 77
    exit 1
fi

# ---- a container with a GPU ----

count='"gpulease/count": "1"'
bundle "$count" nvidia-smi -L
run smi smi
cat "$out/smi"
check "nvidia-smi sees one GPU in the container" [ "$(grep -c '^GPU ' "$out/smi")" = 1 ]

bundle "$count" cuda-check
run cuda cuda
cat "$out/cuda"
check "a CUDA program computes there" has cuda 'all right'
check "and sees one device" has cuda '^devices: 1$'

bundle '' cuda-check
run none none
check "without a request the driver is not there" has none 'libcuda.so.1'

# Written by the container, so that what is seen is what a process in it sees.
bundle "$count" sh -c 'ls /dev | busybox grep nvidia; echo; busybox cat /proc/driver/nvidia/gpus/*/information 2>/dev/null | busybox grep -c UUID; busybox grep -c libcuda /proc/self/mountinfo; busybox touch /usr/bin/nvidia-smi 2>&1'
run look look
cat "$out/look"
check "the driver's files are read-only" has look 'Read-only'
check "and no other GPU's entry in procfs can be read" has look '^1$'

total=$(grep -c '"uuid"' "$out/devices.json")
bundle "\"gpulease/count\": \"all\"" busybox sleep 30
"$bin/gpulease-runtime" --root "$work/state" run --bundle "$work/bundle" holder >"$out/holder" 2>&1 &
for _ in $(seq 50); do
    "$bin/gpulease" leases 2>/dev/null | grep -q bound && break
    sleep 0.1
done
bundle "$count" busybox true
run late late
check "with all $total of them held, one more is refused" has late 'nothing-free\|no-capacity\|held'
cat "$out/late"
"$bin/runc" --root "$work/state" kill holder KILL
wait
bundle "$count" cuda-check
run after after
check "killed, it leaves its GPUs to the next" has after 'all right'

[ "$failed" = 0 ] && echo "gpu-check: every expectation held; outputs in $out"
exit "$failed"
