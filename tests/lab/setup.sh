#!/bin/bash
# Installs the packages that tests with real container engines need, and builds the
# root directory ("lab root") with Docker, containerd, Podman and buildah.
#
#   setup.sh          everything
#   setup.sh --bare   only the packages that bare runc/crun tests need
#   setup.sh --vm     only the packages that tests/vm needs to make and boot its machine
#   setup.sh --dmem   those of --vm, and the packages that build the kernel of tests/vm/dmem.sh
#
# Without an option it also fetches NVIDIA's files, by nvidia.sh, and makes
# CACHE/SUITE/opt/host/crun and .../runc, which run on this host outside of the lab root. Debian
# 12's own crun, 1.8, cannot set device rules on cgroup v2 without CAP_SYS_RESOURCE, which many
# containers and test hosts lack.
#
# Prints nothing if nothing is missing. Calls may run at the same time.
# GPULEASE_LAB_SUITE   trixie (default), or sid for later engines; each has its own root
# GPULEASE_LAB_CACHE   the cache of the lab roots (default /var/cache/gpulease-lab)
# GPULEASE_LAB_MIRROR  the Debian mirror to build from (default: mmdebstrap's)
set -eu

# Debian 12's own dockerd (20.10) has no --annotation, so the engines come from
# Debian 13. Tests use runc and crun of both.
suite=${GPULEASE_LAB_SUITE:-trixie}
lab_packages=docker.io,docker-cli,docker-buildx,docker-compose,containerd,runc,crun,podman,buildah,conmon,catatonit,netavark,aardvark-dns,passt,uidmap,iptables,busybox-static,ca-certificates

cache=${GPULEASE_LAB_CACHE:-/var/cache/gpulease-lab}
root=$cache/$suite
# A change in this line makes this script build every cached root again.
stamp="4 $suite $lab_packages"

say() { echo "lab setup: $*" >&2; }
die() { say "$*"; exit 1; }

apt_options=('APT::Install-Recommends "false"')
keyring=debian-archive-$suite-automatic.gpg
case $suite in
trixie) ;;
sid)
    # sid has no key of its own, and a mirror's copy may be past its expiry date.
    keyring=debian-archive-trixie-automatic.gpg
    apt_options+=('Acquire::Check-Valid-Until "false"')
    ;;
*) die "GPULEASE_LAB_SUITE is \`$suite\`, which is neither \`trixie\` nor \`sid\`" ;;
esac

only=
case $#:${1-} in
0:) ;;
1:--bare | 1:--vm | 1:--dmem) only=$1 ;;
*) die "usage: setup.sh [--bare|--vm|--dmem]" ;;
esac

# /usr/sbin, where Debian puts runc, is not on every PATH.
PATH=$PATH:/usr/sbin:/sbin
export PATH

# Prints the packages whose program is missing.
missing() {
    local p
    if [ "$only" = --dmem ]; then
        for p in bc bison flex gcc make; do
            command -v "$p" >/dev/null || echo "$p"
        done
        command -v xz >/dev/null || echo xz-utils
        [ -e /usr/include/stdio.h ] || echo libc6-dev
        [ -e /usr/include/libelf.h ] || echo libelf-dev
    fi
    if [ "$only" = --vm ] || [ "$only" = --dmem ]; then
        command -v qemu-system-x86_64 >/dev/null || echo qemu-system-x86
        command -v mkfs.ext4 >/dev/null || echo e2fsprogs
    else
        for p in runc crun strace jq; do
            command -v "$p" >/dev/null || echo "$p"
        done
    fi
    # It must be the static busybox, because the containers' root has no libc.
    [ -e /var/lib/dpkg/info/busybox-static.list ] || echo busybox-static
    if [ "${only:---bare}" != --bare ] || { [ -z "$only" ] && ! built; }; then
        command -v mmdebstrap >/dev/null || echo mmdebstrap
        [ -n "$only" ] || command -v patchelf >/dev/null || echo patchelf
        # Early Debian 12 images lack the key that signs Debian 13.
        [ -e "/usr/share/keyrings/$keyring" ] ||
            echo debian-archive-keyring
    fi
}

built() {
    [ -e "$root/etc/gpulease-lab" ] && [ "$(cat "$root/etc/gpulease-lab")" = "$stamp" ]
}

# Makes BUILT/opt/host/PROGRAM, which runs outside of a chroot with the libraries of the
# root at FINAL (BUILT is renamed to FINAL later). It uses DT_RPATH: with DT_RUNPATH the
# libraries would search the host for their own libraries.
port() { # BUILT FINAL PROGRAM
    local src=$1/$3 interp dest
    dest=$1/opt/host/${3##*/}
    interp=$(patchelf --print-interpreter "$src" 2>/dev/null) || interp=
    mkdir -p "${dest%/*}"
    cp "$src" "$dest"
    # A static program has no interpreter and needs nothing.
    [ -z "$interp" ] || patchelf --set-interpreter "$2$interp" --force-rpath \
        --set-rpath "$2/usr/lib/$(uname -m)-linux-gnu" "$dest"
}

# NVIDIA's files are only for the full set of tests. They are kept beside the roots.
nvidia=$(dirname "$0")/nvidia.sh
nvidia() { [ -n "$only" ] || "$nvidia" >/dev/null; }

if [ -z "$(missing)" ] && { [ -n "$only" ] || built; }; then
    nvidia
    exit 0
fi

want=$(missing | tr '\n' ' ')
if [ "$(id -u)" != 0 ]; then
    die "not root; run this as root${want:+, or install: ${want% }}"
fi
command -v apt-get >/dev/null || [ -z "$want" ] ||
    die "no apt-get here; install by other means: ${want% }"

mkdir -p "$cache"
exec 9>"$cache/setup.lock"
flock 9

# Another process may have done it all while this one waited for the lock.
want=$(missing | tr '\n' ' ')
if [ -n "$want" ]; then
    say "installing $want"
    export DEBIAN_FRONTEND=noninteractive
    log=$cache/apt.log
    # A Debian container image has no package lists. Without an update, apt-get
    # cannot install anything.
    # shellcheck disable=SC2086  # one word for each package
    if ! { apt-get -q update &&
        apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends $want; } \
        >"$log" 2>&1 9>&-; then
        tail -n 15 "$log" >&2
        die "apt-get could not install: $want"
    fi
    left=$(missing | tr '\n' ' ')
    [ -z "$left" ] || die "still missing after apt-get: $left"
fi

[ -z "$only" ] || exit 0
nvidia
built && exit 0

# This process holds the lock, so files of an earlier attempt are from an
# interrupted one.
rm -rf --one-file-system "$root".new "$root".old
say "building $root (a minute or two)"
log=$cache/mmdebstrap.log
if ! mmdebstrap --variant=apt --include="$lab_packages" \
    "${apt_options[@]/#/--aptopt=}" \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$suite" "$root".new ${GPULEASE_LAB_MIRROR:+"$GPULEASE_LAB_MIRROR"} \
    >"$log" 2>&1 9>&-; then
    tail -n 15 "$log" >&2
    rm -rf --one-file-system "$root".new
    die "mmdebstrap failed; the whole log is $log"
fi

port "$root.new" "$root" usr/bin/crun
port "$root.new" "$root" usr/sbin/runc
printf '%s\n' "$stamp" >"$root".new/etc/gpulease-lab

# Renamed only when complete, so that no test uses half a root.
[ ! -e "$root" ] || mv "$root" "$root".old
mv "$root".new "$root"
rm -rf --one-file-system "$root".old
