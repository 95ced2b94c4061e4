#!/bin/bash
# Prints a directory with NVIDIA's driver files, at the paths that they have on a host with the
# driver: libnvidia-ml.so.1, libcuda.so.1 and nvidia-smi from Debian's packages. They are the real
# ones, but no GPU is needed. Fetches them if they are not there. Calls may run at the same time.
#
# The host's own packages and sources stay as they are.
# GPULEASE_LAB_CACHE   the cache (default /var/cache/gpulease-lab)
# GPULEASE_LAB_MIRROR  the Debian mirror to fetch from (default http://deb.debian.org/debian)
set -eu

# The section non-free of Debian 13: driver 550.163.01 at the time of writing.
suite=trixie
packages=(libnvidia-ml1 libcuda1 libnvidia-ptxjitcompiler1 nvidia-smi nvidia-cuda-mps)

cache=${GPULEASE_LAB_CACHE:-/var/cache/gpulease-lab}
mirror=${GPULEASE_LAB_MIRROR:-http://deb.debian.org/debian}
# A change in this line makes the script fetch them again.
stamp="2 $suite ${packages[*]}"

# shellcheck source=tests/lab/fetch.sh
. "$(dirname "$(readlink -f "$0")")/fetch.sh"
say() { echo "lab nvidia: $*" >&2; }
die() { say "$*"; exit 1; }

# Prints the directory if it is complete: it is renamed to its place only then.
there() {
    local root
    for root in "$cache"/nvidia-[0-9]*; do
        if [ -e "$root/etc/gpulease-lab" ] && [ "$(cat "$root/etc/gpulease-lab")" = "$stamp" ]; then
            echo "$root"
            return 0
        fi
    done
    return 1
}

there && exit 0
command -v apt-get >/dev/null || die "no apt-get here, and the files are not in $cache"
[ "$(id -u)" = 0 ] || die "not root: the files must be root's, or gpulease does not load them"

mkdir -p "$cache"
exec 8>"$cache/nvidia.lock"
flock 8
there && exit 0

work=$cache/nvidia-new
rm -rf --one-file-system "$work"
say "fetching ${packages[*]}"
fetch "$work" "$cache/nvidia.log" "deb [] $mirror $suite non-free" -- "${packages[@]}"
for deb in "$work"/debs/*.deb; do
    dpkg -x "$deb" "$work/root"
done

# Debian's alternatives make these links when the packages are installed. By these names programs
# find the files of the driver in use.
lib=/usr/lib/$(dpkg --print-architecture | sed 's/amd64/x86_64/;s/arm64/aarch64/')-linux-gnu
for name in libnvidia-ml.so.1 libcuda.so.1 libcuda.so libnvidia-ptxjitcompiler.so.1; do
    [ ! -e "$work/root$lib/nvidia/current/$name" ] ||
        ln -sf "nvidia/current/$name" "$work/root$lib/$name"
done
smi=usr/lib/nvidia/current/nvidia-smi
if [ -e "$work/root/$smi" ]; then
    mkdir -p "$work/root/usr/bin"
    ln -sf "../lib/nvidia/current/nvidia-smi" "$work/root/usr/bin/nvidia-smi"
fi

version=$(find "$work/root$lib" -name 'libnvidia-ml.so.*.*' -printf '%f\n' | sed -n '1s/libnvidia-ml\.so\.//p')
[ -n "$version" ] || die "there is no libnvidia-ml.so.VERSION in Debian's libnvidia-ml1"
mkdir -p "$work/root/etc"
printf '%s\n' "$stamp" >"$work/root/etc/gpulease-lab"
root=$cache/nvidia-$version
rm -rf --one-file-system "$root"
mv "$work/root" "$root"
rm -rf --one-file-system "$work"
echo "$root"
