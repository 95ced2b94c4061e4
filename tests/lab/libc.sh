#!/bin/bash
# Prints a directory with the C libraries of other distributions than Debian, each in a
# subdirectory:
#   lib64   glibc whose loader looks in /lib64 and /usr/lib64, as on Fedora, SUSE and RHEL. It is
#           Debian's 64-bit glibc for 32-bit systems (libc6-amd64 of i386).
#   musl    musl, as in Alpine
# Fetches them if they are not there. Calls may run at the same time. The host's own packages and
# sources stay as they are.
# GPULEASE_LAB_CACHE   the cache (default /var/cache/gpulease-lab)
# GPULEASE_LAB_MIRROR  the Debian mirror to fetch from (default http://deb.debian.org/debian)
set -eu

suite=trixie
declare -A packages=([lib64]=libc6-amd64:i386 [musl]=musl:amd64)

cache=${GPULEASE_LAB_CACHE:-/var/cache/gpulease-lab}
mirror=${GPULEASE_LAB_MIRROR:-http://deb.debian.org/debian}
# A change in this line makes the script fetch them again.
stamp="1 $suite ${packages[lib64]} ${packages[musl]}"
root=$cache/libc

# shellcheck source=tests/lab/fetch.sh
. "$(dirname "$(readlink -f "$0")")/fetch.sh"
die() { echo "lab libc: $*" >&2; exit 1; }
there() { [ "$(cat "$root/stamp" 2>/dev/null)" = "$stamp" ] && echo "$root"; }

there && exit 0
[ "$(dpkg --print-architecture)" = amd64 ] || die "this needs amd64: only there is such a glibc"
[ "$(id -u)" = 0 ] || die "not root"
mkdir -p "$cache"
exec 8>"$cache/libc.lock"
flock 8
there && exit 0

work=$cache/libc-new
rm -rf --one-file-system "$work"
fetch "$work" "$cache/libc.log" "deb [arch=amd64,i386] $mirror $suite main" \
    -o "APT::Architectures::=amd64" -o "APT::Architectures::=i386" -- "${packages[@]}"
dpkg -x "$work"/debs/libc6-amd64_*.deb "$work/root/lib64"
dpkg -x "$work"/debs/musl_*.deb "$work/root/musl"
printf '%s\n' "$stamp" >"$work/root/stamp"
rm -rf --one-file-system "$root"
mv "$work/root" "$root"
rm -rf --one-file-system "$work"
echo "$root"
