#!/bin/sh
# Configures the machine that image.sh makes, as its administrator would. mmdebstrap calls it.
#
#   configure.sh initramfs ROOT   before the kernel is installed
#   configure.sh root ROOT        after all packages are installed
set -eu

here=$(dirname "$(readlink -f "$0")")
stage=$1
root=$2

# A small initramfs boots sooner: it holds the drivers of this machine only.
initramfs() {
    mkdir -p "$root/etc/initramfs-tools/conf.d" "$root/usr/share/initramfs-tools/modules.d"
    echo 'MODULES=list' >"$root/etc/initramfs-tools/conf.d/gpulease-test"
    printf '%s\n' virtio_pci virtio_blk ext4 \
        >"$root/usr/share/initramfs-tools/modules.d/gpulease-test"
}

root() {
    echo gpulease-vm >"$root/etc/hostname"
    echo '127.0.0.1 localhost gpulease-vm' >"$root/etc/hosts"
    # These drivers' nodes can be opened without hardware: they stand for GPUs.
    printf '%s\n' fuse cuse loop dm_mod >"$root/etc/modules-load.d/gpulease-test.conf"
    # The machine has no network, so Docker makes no bridge and no packet filter.
    mkdir -p "$root/etc/docker"
    echo '{ "bridge": "none", "iptables": false, "ip6tables": false }' \
        >"$root/etc/docker/daemon.json"
    # The first boot compiles all profiles, a second for each. Only the profiles of
    # the container programs matter here.
    find "$root/etc/apparmor.d" -maxdepth 1 -type f ! -name runc ! -name crun \
        ! -name podman ! -name busybox -delete
    # These units cost seconds at boot, and the test does not need them.
    for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
        e2scrub_all.timer e2scrub_reap.service fstrim.timer getty@tty1.service \
        podman-auto-update.timer serial-getty@ttyS0.service; do
        ln -sf /dev/null "$root/etc/systemd/system/$unit"
    done
    install -m 0644 "$here/guest.service" "$root/etc/systemd/system/gpulease-test.service"
    chroot "$root" systemctl enable gpulease-test.service podman-restart.service
    # Without a machine id, systemd would take each boot for the first one. Without the
    # two files, the first boot would make caches anew.
    chroot "$root" systemd-machine-id-setup
    touch "$root/etc/.updated" "$root/var/.updated"
}

case $stage in
initramfs) initramfs ;;
root) root ;;
*) echo "configure.sh: no such stage: $stage" >&2; exit 1 ;;
esac
