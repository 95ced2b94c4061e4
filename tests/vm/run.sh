#!/bin/bash
# Boots a whole Debian machine under qemu and has real Docker and Podman use
# gpulease in it: with systemd and its cgroup driver, across daemon-reload,
# set-property and a reboot. The machine is emulated, so it runs anywhere.
#
#   run.sh BIN        BIN holds gpulease, gpulease-runtime and gpulease-hook
#
# Prints guest.sh's checks as they are made and exits with 0 only if the guest
# made each of them, each is ok, and it then powered itself off. On failure it
# shows the end of the journal and of the console, and says where they are.
#
# GPULEASE_LAB_CACHE, GPULEASE_LAB_MIRROR   see image.sh
set -eu

here=$(dirname "$(readlink -f "$0")")
lab=$here/../lab
name=test-vm
# shellcheck source-path=SCRIPTDIR source=machine.sh
. "$here/machine.sh"

# The second disk, made for each run: the programs, the test, and the root file
# system of the containers.
fill_tests_disk() { # BIN
    local disk=$work/disk
    mkdir -p "$disk/bin"
    cp "$1/gpulease" "$1/gpulease-runtime" "$1/gpulease-hook" "$disk/bin/"
    install -m 0755 "$here/guest.sh" "$disk/guest.sh"
    cp "$here/lib.sh" "$here/first-boot.sh" "$here/second-boot.sh" "$disk/"
    "$lab/bundle.sh" --rootfs "$work/busybox"
    install -m 0755 "$here/container.sh" "$work/busybox/bin/container.sh"
    tar -C "$work/busybox" -cf "$disk/busybox.tar" .
}

[ $# = 1 ] || die "usage: run.sh BIN"
begin "$1"
"$lab/setup.sh" --vm
image=$("$here/image.sh")
fill_tests_disk "$1"
make_tests_disk
SECONDS=0
boot "$image/root.img" "$image/vmlinuz" "$image/initrd.img"
follow
