#!/bin/bash
# Makes the packages of the programs in dist/bin: gpulease_VERSION-REVISION_ARCH.deb and
# gpulease-VERSION-REVISION.ARCH.rpm.
#
#   packages.sh [DIR [REVISION]]      default: dist, 1
#
# The same sources and programs give the same packages to the byte. The settings of the two tools
# are in Cargo.toml; stage.sh lays out the files.
set -euo pipefail

die() { echo "packages: $*" >&2; exit 1; }

cd "$(dirname "$0")/.."
out=${1-dist}
revision=${2-1}
tools=${CARGO_TARGET_DIR:-target}/tools
tools=$(mkdir -p "$tools" && cd "$tools" && pwd)
deb_tool=3.8.0
rpm_tool=0.21.1

have() { # NAME VERSION
    local found
    found=$("$tools/bin/$1" --version 2>/dev/null) || return 1
    [ "${found##* }" = "$2" ]
}

tool() { # NAME VERSION
    have "$1" "$2" || cargo install --quiet --locked --root "$tools" --version "=$2" "$1"
    have "$1" "$2" || die "$tools/bin/$1 is not version $2"
}

tool cargo-deb "$deb_tool"
tool cargo-generate-rpm "$rpm_tool"
command -v dpkg-shlibdeps >/dev/null || die "dpkg-shlibdeps is not there: apt-get install dpkg-dev"

# Every file gets the time of the last commit.
if [ -z "${SOURCE_DATE_EPOCH-}" ]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)
fi
export SOURCE_DATE_EPOCH

version=$(packaging/version.sh)
packaging/stage.sh deb dist/stage/deb
packaging/stage.sh rpm dist/stage/rpm
cat >dist/stage/changelog.Debian <<EOF
gpulease ($version-$revision) unstable; urgency=medium

  * Release $version. See changelog.gz.

 -- gpulease authors <gpulease@localhost.invalid>  $(LC_ALL=C date -uR -d "@$SOURCE_DATE_EPOCH")
EOF

mkdir -p "$out"
rm -f "$out"/gpulease_*.deb "$out"/gpulease-*.rpm
"$tools/bin/cargo-deb" deb --quiet --locked --no-build --no-strip --deb-revision "$revision" \
    --output "$out/" >/dev/null
"$tools/bin/cargo-generate-rpm" generate-rpm --auto-req builtin --source-date "$SOURCE_DATE_EPOCH" \
    -s "release = \"$revision\"" --output "$out/"

deb=$(echo "$out/gpulease_$version-$revision"_*.deb)
rpm=$(echo "$out/gpulease-$version-$revision".*.rpm)
for package in "$deb" "$rpm"; do
    [ -f "$package" ] || die "$package was not made"
done
# If dpkg-shlibdeps fails, cargo-deb only warns.
dpkg-deb -f "$deb" Depends | grep -q 'libc6 (>=' || die "$deb does not depend on a libc6"
echo "$deb"
echo "$rpm"
