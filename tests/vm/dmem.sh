#!/bin/bash
# Boots the machine of run.sh with a kernel that has the dmem controller, and with a
# module that stands for a GPU's driver. There gpulease limits the device memory of real
# containers, over runc and crun, with and without systemd's cgroup driver.
#
#   dmem.sh BIN       BIN holds gpulease, gpulease-runtime and gpulease-hook
#
# Prints dmem/guest.sh's checks as they are made, and ends as run.sh does.
#
# GPULEASE_LAB_CACHE, GPULEASE_LAB_MIRROR   see image.sh and dmem/kernel.sh
set -eu

here=$(dirname "$(readlink -f "$0")")
lab=$here/../lab
name=test-vm-dmem
# shellcheck source-path=SCRIPTDIR source=machine.sh
. "$here/machine.sh"

[ $# = 1 ] || die "usage: dmem.sh BIN"
begin "$1"
"$lab/setup.sh" --dmem
image=$("$here/image.sh")
kernel=$("$here/dmem/kernel.sh")
mkdir -p "$work/disk/bin"
cp "$1/gpulease" "$1/gpulease-runtime" "$1/gpulease-hook" "$work/disk/bin/"
cp "$here/lib.sh" "$here/dmem/kernel-facts.sh" "$here/dmem/gpulease.sh" "$kernel/vram.ko" \
    "$work/disk/"
install -m 0755 "$here/dmem/guest.sh" "$work/disk/guest.sh"
"$lab/bundle.sh" --rootfs "$work/disk/rootfs"
make_tests_disk
SECONDS=0
# Without an initramfs: the kernel has all drivers that the machine needs. No engine is needed.
boot "$image/root.img" "$kernel/bzImage" '' systemd.mask=docker.service \
    systemd.mask=docker.socket systemd.mask=containerd.service systemd.mask=podman-restart.service
follow
