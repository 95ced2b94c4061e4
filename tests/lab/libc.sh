#!/bin/bash
# Prints a directory with the C libraries of other distributions than Debian, each below a name of
# its own:
#   lib64   glibc whose loader is built to look in /lib64 and /usr/lib64, as Fedora's, SUSE's and
#           RHEL's are. It is Debian's 64-bit glibc for 32-bit systems (libc6-amd64 of i386).
#   musl    musl, as in Alpine
# Fetches them if they are not there yet; any number may run at once. Nothing of this host's own
# packages or sources is changed.
# GPULEASE_LAB_CACHE   where they are kept (default /var/cache/gpulease-lab)
# GPULEASE_LAB_MIRROR  the Debian mirror to fetch from (default http://deb.debian.org/debian)
set -eu

suite=trixie
declare -A packages=([lib64]=libc6-amd64:i386 [musl]=musl:amd64)

cache=${GPULEASE_LAB_CACHE:-/var/cache/gpulease-lab}
mirror=${GPULEASE_LAB_MIRROR:-http://deb.debian.org/debian}
# Changing this line makes them be fetched anew.
stamp="1 $suite ${packages[lib64]} ${packages[musl]}"
root=$cache/libc

die() { echo "lab libc: $*" >&2; exit 1; }
there() { [ "$(cat "$root/stamp" 2>/dev/null)" = "$stamp" ] && echo "$root"; }

there && exit 0
[ "$(dpkg --print-architecture)" = amd64 ] || die "only on amd64: elsewhere there is no such glibc"
[ "$(id -u)" = 0 ] || die "not root"
mkdir -p "$cache"
exec 8>"$cache/libc.lock"
flock 8
there && exit 0

work=$cache/libc-new
rm -rf --one-file-system "$work"
mkdir -p "$work"/{apt/{lists/partial,cache/archives/partial,parts},debs,root}
: >"$work/apt/status"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
printf 'deb [arch=amd64,i386 signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$suite" \
    >"$work/apt/sources.list"
options=(
    -o "Dir::State::Lists=$work/apt/lists" -o "Dir::State::status=$work/apt/status"
    -o "Dir::Cache=$work/apt/cache" -o "Dir::Etc::SourceList=$work/apt/sources.list"
    -o "Dir::Etc::SourceParts=$work/apt/parts" -o "APT::Sandbox::User=root"
    -o "APT::Architectures::=amd64" -o "APT::Architectures::=i386"
)
log=$cache/libc.log
if ! { apt-get -q "${options[@]}" update &&
    (cd "$work/debs" && apt-get -q "${options[@]}" download "${packages[@]}"); } >"$log" 2>&1 8>&-; then
    tail -n 15 "$log" >&2
    die "apt-get could not fetch ${packages[*]}; the whole log is $log"
fi
dpkg -x "$work"/debs/libc6-amd64_*.deb "$work/root/lib64"
dpkg -x "$work"/debs/musl_*.deb "$work/root/musl"
printf '%s\n' "$stamp" >"$work/root/stamp"
rm -rf --one-file-system "$root"
mv "$work/root" "$root"
rm -rf --one-file-system "$work"
echo "$root"
