#!/bin/bash
# Makes the machine that run.sh boots: Debian 13 with systemd, Docker, containerd
# and Podman as Debian configures them, without gpulease. The disk image is kept in
# a cache and is never written again.
#
#   image.sh          makes the image if there is none, and prints its directory
#
# The directory holds root.img, vmlinuz and initrd.img. Calls may run at the same time.
#
# GPULEASE_LAB_CACHE   the cache (default /var/cache/gpulease-lab)
# GPULEASE_LAB_MIRROR  the Debian mirror to build from (default: mmdebstrap's)
set -eu

suite=trixie
# apparmor: Debian's Docker recommends it. Its profiles attach by the path of a
# program, and a runtime that executes another one must work with them.
# procps: docker.service reloads with /bin/kill.
# curl: the test's client of the CRI plugin uses it.
packages=linux-image-cloud-amd64,systemd,systemd-sysv,udev,dbus,procps,apparmor,jq,curl,docker.io,docker-cli,containerd,runc,crun,podman,conmon,catatonit,netavark,aardvark-dns,iptables

here=$(dirname "$(readlink -f "$0")")
cache=${GPULEASE_LAB_CACHE:-/var/cache/gpulease-lab}
dir=$cache/vm-$suite

say() { echo "test-vm image: $*" >&2; }
die() { say "$*"; exit 1; }

[ $# = 0 ] || die "usage: image.sh"
# /usr/sbin, where Debian puts mkfs.ext4, is not on every PATH.
PATH=$PATH:/usr/sbin:/sbin
export PATH

# A change in one of these files makes a new image.
stamp=$(cat "$here/image.sh" "$here/configure.sh" "$here/guest.service" | sha256sum)

built() { [ -e "$dir/stamp" ] && [ "$(cat "$dir/stamp")" = "$stamp" ]; }

if built; then
    echo "$dir"
    exit 0
fi
mkdir -p "$cache"
exec 9>"$cache/vm.lock"
flock 9
# Another process may have made it while this one waited for the lock.
if built; then
    echo "$dir"
    exit 0
fi

# This process holds the lock, so files of an earlier attempt are from an
# interrupted one.
rm -rf --one-file-system "$dir".root "$dir".new "$dir".old
say "making $dir (two minutes or so, once)"
mkdir "$dir.new"
log=$cache/vm-mmdebstrap.log
if ! mmdebstrap --variant=minbase --include="$packages" \
    --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --essential-hook="$here/configure.sh initramfs \"\$1\"" \
    --customize-hook="$here/configure.sh root \"\$1\"" \
    "$suite" "$dir.root" ${GPULEASE_LAB_MIRROR:+"$GPULEASE_LAB_MIRROR"} \
    >"$log" 2>&1 9>&-; then
    tail -n 15 "$log" >&2
    rm -rf --one-file-system "$dir".root "$dir".new
    die "mmdebstrap failed; the whole log is $log"
fi

cp "$dir.root"/boot/vmlinuz-* "$dir.new/vmlinuz"
cp "$dir.root"/boot/initrd.img-* "$dir.new/initrd.img"
# The file is sparse. The free space is for the containers of one run.
truncate -s 4G "$dir.new/root.img"
if ! mkfs.ext4 -q -F -L root -d "$dir.root" "$dir.new/root.img" >>"$log" 2>&1 9>&-; then
    tail -n 15 "$log" >&2
    rm -rf --one-file-system "$dir".root "$dir".new
    die "mkfs.ext4 failed; the whole log is $log"
fi
rm -rf --one-file-system "$dir".root
printf '%s\n' "$stamp" >"$dir.new/stamp"

# Renamed only when complete, so that no test boots half a machine.
[ ! -e "$dir" ] || mv "$dir" "$dir".old
mv "$dir".new "$dir"
rm -rf --one-file-system "$dir".old
echo "$dir"
