#!/bin/bash
# Makes the machine that run.sh boots: Debian 13 with systemd, Docker and Podman
# as Debian configures them, on a disk image that is kept and never written
# again. Nothing of gpulease is in it.
#
#   image.sh          makes it if it is not there, and prints its directory
#
# which then holds root.img, vmlinuz and initrd.img. Any number may run at once.
#
# GPULEASE_LAB_CACHE   where it is kept (default /var/cache/gpulease-lab)
# GPULEASE_LAB_MIRROR  the Debian mirror to build from (default: mmdebstrap's)
set -eu

suite=trixie
# apparmor: Debian's Docker recommends it, and its profiles attach by the path of
# a program: a runtime that becomes another must not be hurt by that.
# procps: docker.service reloads by /bin/kill.
packages=linux-image-cloud-amd64,systemd,systemd-sysv,udev,dbus,procps,apparmor,jq,docker.io,docker-cli,containerd,runc,crun,podman,conmon,catatonit,netavark,aardvark-dns,iptables

here=$(dirname "$(readlink -f "$0")")
cache=${GPULEASE_LAB_CACHE:-/var/cache/gpulease-lab}
dir=$cache/vm-$suite

say() { echo "test-vm image: $*" >&2; }
die() { say "$*"; exit 1; }

[ $# = 0 ] || die "usage: image.sh"
# /usr/sbin, where Debian puts mkfs.ext4, is not on every PATH.
PATH=$PATH:/usr/sbin:/sbin
export PATH

# A change in what makes it makes another image.
stamp=$(cat "$here/image.sh" "$here/configure.sh" "$here/guest.service" | sha256sum)

built() { [ -e "$dir/stamp" ] && [ "$(cat "$dir/stamp")" = "$stamp" ]; }

if built; then
    echo "$dir"
    exit 0
fi
mkdir -p "$cache"
exec 9>"$cache/vm.lock"
flock 9
# Someone else may have made it while this one waited for the lock.
if built; then
    echo "$dir"
    exit 0
fi

# Only this process builds (it has the lock), so what is left of an earlier
# attempt was interrupted.
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
# Sparse: it takes what is in it. The rest is room for the containers of one run.
truncate -s 4G "$dir.new/root.img"
if ! mkfs.ext4 -q -F -L root -d "$dir.root" "$dir.new/root.img" >>"$log" 2>&1 9>&-; then
    tail -n 15 "$log" >&2
    rm -rf --one-file-system "$dir".root "$dir".new
    die "mkfs.ext4 failed; the whole log is $log"
fi
rm -rf --one-file-system "$dir".root
printf '%s\n' "$stamp" >"$dir.new/stamp"

# Renamed only when complete, so that nobody ever boots half a machine.
[ ! -e "$dir" ] || mv "$dir" "$dir".old
mv "$dir".new "$dir"
rm -rf --one-file-system "$dir".old
echo "$dir"
