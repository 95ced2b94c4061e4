#!/bin/sh
# Called by mmdebstrap for image.sh: what Debian's packages leave to the
# administrator of a machine.
#
#   configure.sh initramfs ROOT   before the kernel is installed
#   configure.sh root ROOT        after everything is
set -eu

here=$(dirname "$(readlink -f "$0")")
stage=$1
root=$2

# An initramfs of what this machine has, and no more, boots sooner.
initramfs() {
    mkdir -p "$root/etc/initramfs-tools/conf.d" "$root/usr/share/initramfs-tools/modules.d"
    echo 'MODULES=list' >"$root/etc/initramfs-tools/conf.d/gpulease-test"
    printf '%s\n' virtio_pci virtio_blk ext4 \
        >"$root/usr/share/initramfs-tools/modules.d/gpulease-test"
}

root() {
    echo gpulease-vm >"$root/etc/hostname"
    echo '127.0.0.1 localhost gpulease-vm' >"$root/etc/hosts"
    # Drivers whose nodes can be opened without hardware stand for those of GPUs.
    printf '%s\n' fuse cuse loop dm_mod >"$root/etc/modules-load.d/gpulease-test.conf"
    # No bridge and no filter: the machine has no network.
    mkdir -p "$root/etc/docker"
    echo '{ "bridge": "none", "iptables": false, "ip6tables": false }' \
        >"$root/etc/docker/daemon.json"
    # Profiles are compiled at the first boot, which takes a second for each: those
    # of containers' programs stay.
    find "$root/etc/apparmor.d" -maxdepth 1 -type f ! -name runc ! -name crun \
        ! -name podman ! -name busybox -delete
    # What costs seconds and is looked at by nobody.
    for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
        e2scrub_all.timer e2scrub_reap.service fstrim.timer getty@tty1.service \
        podman-auto-update.timer serial-getty@ttyS0.service; do
        ln -sf /dev/null "$root/etc/systemd/system/$unit"
    done
    install -m 0644 "$here/guest.service" "$root/etc/systemd/system/gpulease-test.service"
    chroot "$root" systemctl enable gpulease-test.service podman-restart.service
    # Without an id each boot would count as the first; without the two files the first
    # would make caches anew.
    chroot "$root" systemd-machine-id-setup
    touch "$root/etc/.updated" "$root/var/.updated"
}

case $stage in
initramfs) initramfs ;;
root) root ;;
*) echo "configure.sh: no such stage: $stage" >&2; exit 1 ;;
esac
