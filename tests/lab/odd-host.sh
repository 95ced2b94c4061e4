#!/bin/bash
# Runs a command on an unusual host: device nodes belong to a group, there are nodes of GPUs, files
# of a driver and CDI specs, and gpulease's configuration and lease directory are broken. Tests must
# give the same results there as on any host.
#
#   odd-host.sh CMD [ARG...]
#
# Only the command sees all this, in its own mount namespace.
set -eu

if [ "${1-}" != --inside ]; then
    [ $# -ge 1 ] || { echo "usage: odd-host.sh CMD [ARG...]" >&2; exit 1; }
    [ "$(id -u)" = 0 ] || { echo "lab odd-host: not root" >&2; exit 1; }
    exec unshare --mount --propagation private "$(readlink -f "$0")" --inside "$@"
fi
shift

mount -t tmpfs -o mode=755,dev lab /dev
mkdir /dev/pts /dev/dri
mkdir -m 1777 /dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 lab /dev/pts
ln -s pts/ptmx /dev/ptmx
ln -s /proc/self/fd /dev/fd
node() { mknod -m 660 "$@" && chgrp 44 "$1"; }
for n in null:3 zero:5 full:7 random:8 urandom:9; do
    node "/dev/${n%:*}" c 1 "${n#*:}"
done
node /dev/tty c 5 0
node /dev/fuse c 10 229
node /dev/loop-control c 10 237
for n in 0:0 1:1 2:2 ctl:255; do
    node "/dev/nvidia${n%:*}" c 195 "${n#*:}"
done
node /dev/nvidia-uvm c 511 0
node /dev/kfd c 510 0
node /dev/dri/renderD128 c 226 128
node /dev/dri/card0 c 226 0

# The directories that this script makes on the host are removed at its end.
made=()
leave() {
    for dir in "${made[@]}"; do
        umount -l "$dir" 2>/dev/null || true
        rmdir "$dir" 2>/dev/null || true
    done
}
trap leave EXIT
for dir in /etc/cdi /run/cdi /etc/gpulease /run/gpulease /proc/driver; do
    if [ ! -d "$dir" ]; then
        mkdir "$dir"
        made+=("$dir")
    fi
    mount -t tmpfs -o mode=777 lab "$dir"
done
for dir in /etc/cdi /run/cdi; do
    echo '{"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": [{"name": "0",
        "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0"}]}}]}' >"$dir/odd.json"
done
echo '] broken' | tee /etc/gpulease/config.toml >/etc/gpulease/devices.toml
mkdir /run/gpulease/leases
echo junk | tee /run/gpulease/inventory.json >"/run/gpulease/leases/odd@run!runc.json"
mkdir -p /proc/driver/nvidia/gpus/0000:08:00.0
echo 'Model: Odd' >/proc/driver/nvidia/gpus/0000:08:00.0/information
"$@"
