#!/bin/bash
# Boots a whole Debian machine under qemu, in which real Docker, Podman and containerd
# use gpulease: with systemd and its cgroup driver, across daemon-reload, set-property
# and a reboot; and by `gpulease install` and `uninstall`. The machine is emulated, so
# it runs anywhere.
#
#   run.sh BIN             BIN holds gpulease, gpulease-runtime and gpulease-hook
#   run.sh BIN --engines   only `install` and `uninstall`, without the reboot
#
# Prints guest.sh's checks as they are made. Exits with 0 only if the guest made all
# checks, all are ok, and the guest then powered itself off. On failure it shows the
# ends of the journal and of the console, and says where these files are.
#
# GPULEASE_LAB_CACHE, GPULEASE_LAB_MIRROR   see image.sh
set -eu

here=$(dirname "$(readlink -f "$0")")
lab=$here/../lab
name=test-vm
# shellcheck source-path=SCRIPTDIR source=machine.sh
. "$here/machine.sh"

# The second disk, made for each run: the programs, the test, and the containers'
# root file system.
fill_tests_disk() { # BIN
    local disk=$work/disk
    mkdir -p "$disk/bin"
    cp "$1/gpulease" "$1/gpulease-runtime" "$1/gpulease-hook" "$disk/bin/"
    install -m 0755 "$here/guest.sh" "$disk/guest.sh"
    cp "$here/lib.sh" "$here/cri.sh" "$here/node.sh" "$here/first-boot.sh" \
        "$here/second-boot.sh" "$here/engines.sh" "$disk/"
    "$lab/bundle.sh" --rootfs "$work/busybox"
    install -m 0755 "$here/container.sh" "$work/busybox/bin/container.sh"
    tar -C "$work/busybox" -cf "$disk/busybox.tar" .
}

case $#:${2-} in
1: | 2:--engines) ;;
*) die "usage: run.sh BIN [--engines]" ;;
esac
begin "$1"
"$lab/setup.sh" --vm
image=$("$here/image.sh")
fill_tests_disk "$1"
[ $# = 1 ] || : >"$work/disk/only-engines"
make_tests_disk
SECONDS=0
boot "$image/root.img" "$image/vmlinuz" "$image/initrd.img"
follow
