#!/bin/bash
# Makes the kernel that dmem.sh boots, from Debian's source, with the dmem controller,
# and the module vram.ko for it. Both are kept in a cache, and made again when their
# sources change.
#
#   kernel.sh         makes them if they are not there, and prints their directory
#
# The directory holds bzImage and vram.ko. Calls may run at the same time. The build
# downloads 170 MB, needs 1.5 GB of disk, and takes some ten minutes on two processors.
#
# GPULEASE_LAB_CACHE   the cache (default /var/cache/gpulease-lab)
# GPULEASE_LAB_MIRROR  the Debian mirror to fetch from (default http://deb.debian.org/debian)
set -eu

suite=trixie-backports
here=$(dirname "$(readlink -f "$0")")
cache=${GPULEASE_LAB_CACHE:-/var/cache/gpulease-lab}
mirror=${GPULEASE_LAB_MIRROR:-http://deb.debian.org/debian}
dir=$cache/vm-dmem
log=$cache/vm-dmem.log

say() { echo "test-vm-dmem kernel: $*" >&2; }
die() { say "$*"; exit 1; }
# shellcheck source-path=SCRIPTDIR source=../../lab/fetch.sh
. "$here/../../lab/fetch.sh"

[ $# = 0 ] || die "usage: kernel.sh"
stamp=$(cat "$here/kernel.sh" "$here/config" "$here/Kbuild" "$here/vram.c" | sha256sum)

built() { [ -e "$dir/stamp" ] && [ "$(cat "$dir/stamp")" = "$stamp" ]; }

# quietly CMD...: writes CMD's output to the log, and shows the log's end if CMD fails.
quietly() {
    "$@" >>"$log" 2>&1 8>&- || {
        tail -n 15 "$log" >&2
        die "$1 failed; the whole log is $log"
    }
}

# Puts the source in $work/source, without documentation and without drivers for
# hardware that the machine does not have: these are most of the source.
unpack() {
    local package
    fetch "$work/name" "$log" "deb [] $mirror $suite main" -- linux-source
    package=$(dpkg-deb -f "$work"/name/debs/linux-source_*.deb Depends |
        grep -o 'linux-source-[0-9.]*' | head -n 1)
    [ -n "$package" ] || die "linux-source names no source"
    say "fetching $package"
    fetch "$work/fetched" "$log" "deb [] $mirror $suite main" -- "$package"
    mkdir "$work/source"
    dpkg-deb --fsys-tarfile "$work/fetched/debs/$package"_*.deb |
        tar -xO "./usr/src/$package.tar.xz" | xz -dc |
        tar -x -C "$work/source" --strip-components=1 --exclude='*/Documentation/*/*' \
            --exclude='*/drivers/gpu/drm/*.[ch]' --exclude='*/drivers/media/*.[ch]' \
            --exclude='*/drivers/net/[ew]*/*.[ch]' --exclude='*/sound/*.[ch]' \
            --exclude='*/drivers/staging/*.[ch]' --exclude='*/selftests/*' --exclude='*.dts*'
}

# kconfig silently drops options that it does not know. A later kernel may have other
# names for them.
is_as_asked() {
    local line
    while read -r line; do
        case $line in
        CONFIG_*) grep -qxF "$line" "$1" || { say "the kernel has no $line"; return 1; } ;;
        esac
    done <"$here/config"
}

if built; then
    echo "$dir"
    exit 0
fi
mkdir -p "$cache"
exec 8>"$cache/vm-dmem.lock"
flock 8
# Another process may have made it while this one waited for the lock.
if built; then
    echo "$dir"
    exit 0
fi

# This process holds the lock, so files of an earlier attempt are from an interrupted one.
work=$dir.work
rm -rf --one-file-system "$work" "$dir.new"
mkdir -p "$work/build" "$work/vram" "$dir.new"
: >"$log"
unpack
say "building the kernel (ten minutes or so, once)"
quietly make -C "$work/source" O="$work/build" KCONFIG_ALLCONFIG="$here/config" allnoconfig
is_as_asked "$work/build/.config" || die "the configuration is not as asked"
quietly make -C "$work/build" -j"$(nproc)" bzImage modules
cp "$here/Kbuild" "$here/vram.c" "$work/vram/"
quietly make -C "$work/build" M="$work/vram" modules
cp "$work/build/arch/x86/boot/bzImage" "$work/vram/vram.ko" "$dir.new/"
printf '%s\n' "$stamp" >"$dir.new/stamp"

# Renamed only when complete, so that no test boots half a kernel.
rm -rf --one-file-system "$work" "$dir"
mv "$dir.new" "$dir"
echo "$dir"
