#!/bin/bash
# Builds gpulease-rocm against Debian's librocm-smi64, and runs it with the real library
# over fake /sys trees (tests/rocm.rs). Needs root: a mount namespace has such a tree in
# the place of /sys.
#
# It installs nothing: missing files come from Debian's packages into a cache folder. The
# library is from the suite below (ROCm 6), with its libc, because the host's may be
# older. If it cannot be fetched, the test is skipped with a line on stderr; with CI set
# it fails.
#
# GPULEASE_ROCM_CACHE   the cache of the packages (default /var/cache/gpulease-rocm)
# GPULEASE_ROCM_SUITE   the Debian suite of the packages (default trixie)
# LIBCLANG_PATH         a folder with libclang.so; if set, none is fetched
set -eu

cd "$(dirname "$(readlink -f "$0")")/../.."
cache=${GPULEASE_ROCM_CACHE:-/var/cache/gpulease-rocm}
suite=${GPULEASE_ROCM_SUITE:-trixie}
target=${CARGO_TARGET_DIR:-target}
multiarch=$(uname -m)-linux-gnu

skip() {
    echo "SKIPPED: gpulease-rocm is not tested: $*" >&2
    [ -z "${CI:-}" ] || exit 1
    exit 0
}
[ "$(id -u)" = 0 ] || skip "root is needed"
command -v apt-get >/dev/null || skip "there is no apt-get to fetch librocm-smi64 with"
unshare --mount true 2>/dev/null || skip "this process may not make a mount namespace"

# apt-get with the host's sources, but with another suite and separate lists.
apt() { # COMMAND [ARG...]
    apt-get -qq -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$cache/apt/sources" \
        -o Dir::State::lists="$cache/apt/lists" -o Dir::Cache="$cache/apt/cache" \
        -o Acquire::Languages=none -o APT::Sandbox::User=root "$@"
}
sources() {
    local file codename
    # shellcheck disable=SC1091  # the host's file
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    [ -n "$codename" ] || return 1
    mkdir -p "$cache/apt/sources" "$cache/apt/lists/partial" "$cache/apt/cache/archives/partial"
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        [ ! -f "$file" ] || sed "s/\b$codename\b/$suite/g" "$file" >"$cache/apt/sources/${file##*/}"
    done
}
# Unpacks the packages in FOLDER below it.
unpack() { # FOLDER
    local deb
    for deb in "$1"/debs/*.deb; do
        dpkg -x "$deb" "$1" || return 1
    done
    touch "$1/done"
}
# ROCm's library, and the libraries to which it is linked.
library() {
    local dir=$cache/$suite
    [ ! -e "$dir/done" ] || return 0
    mkdir -p "$dir/debs"
    sources && apt update &&
        (cd "$dir/debs" && apt download librocm-smi64-1 librocm-smi-dev libc6 libgcc-s1 libstdc++6) &&
        unpack "$dir"
}
# libclang of the host's own release, which makes the bindings.
clang() {
    local dir=$cache/clang packages
    [ ! -e "$dir/done" ] || return 0
    mkdir -p "$dir/debs"
    packages=$(apt-get -s -o APT::Install-Recommends=false install libclang1 | awk '/^Inst/ { print $2 }')
    # shellcheck disable=SC2086  # one word for each package
    (cd "$dir/debs" && apt-get -qq -o APT::Sandbox::User=root download $packages) && unpack "$dir"
}

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
library || skip "librocm-smi64 of $suite cannot be fetched"
rocm=$cache/$suite
found=$(find "$rocm" -name librocm_smi64.so | head -n 1)
[ -n "$found" ] || skip "librocm-smi-dev of $suite has no librocm_smi64.so"
libraries=${found%/*}

libclang=${LIBCLANG_PATH:-}
if [ -z "$libclang" ]; then
    clang || skip "libclang cannot be fetched"
    libclang=$(find "$cache/clang" -name 'libclang.so*' -o -name 'libclang-*.so.1' | head -n 1)
    [ -n "$libclang" ] || skip "libclang1 is installed, but its folder is not known: set LIBCLANG_PATH"
    libclang=${libclang%/*}
fi
flock -u 9

# libclang alone has no headers of a compiler, so gcc's are used. The library may need symbols of a
# newer libc than the host's.
LIBCLANG_PATH=$libclang \
    LD_LIBRARY_PATH="$cache/clang/usr/lib/$multiarch${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" \
    BINDGEN_EXTRA_CLANG_ARGS="-I$(gcc -print-file-name=include)" \
    RUSTFLAGS="-L native=$libraries -C link-arg=-Wl,--allow-shlib-undefined" \
    cargo build --locked --features rocm-smi --bin gpulease-rocm --target-dir "$target/rocm"

loader=$(find "$rocm/" -path '*/ld-linux-*.so.*' | head -n 1)
[ -n "$loader" ] || skip "libc6 of $suite has no loader"
program=$(readlink -f "$target/rocm/debug/gpulease-rocm")
GPULEASE_ROCM="$loader --library-path $libraries:$rocm/usr/lib/$multiarch $program" \
    cargo test --locked --test rocm
