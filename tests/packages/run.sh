#!/bin/bash
# Tests the packages of `make packages`, as root: their contents; the deb with real apt and dpkg
# beside a real dockerd, from the first install to the purge; the rpm with the real rpm program.
#
#   run.sh [DIR]      DIR has the packages; default: dist
#
# The packages are installed in separate roots (tests/lab), in separate mount namespaces. On the host
# only missing tools are installed.
set -eu

here=$(dirname "$(readlink -f "$0")")
top=$(readlink -f "$here/../..")
dist=$(readlink -f "${1-$top/dist}")
# shellcheck source=tests/packages/lib.sh
. "$here/lib.sh"
# shellcheck source=tests/packages/content.sh
. "$here/content.sh"
# shellcheck source=tests/packages/docker.sh
. "$here/docker.sh"
# shellcheck source=tests/packages/rpm.sh
. "$here/rpm.sh"

[ "$(id -u)" = 0 ] || die "not root"
need lintian lintian
need rpm rpm
need mandoc mandoc
need groff groff
need jq jq

version=$("$top/packaging/version.sh")
deb=$(echo "$dist/gpulease_$version-1"_*.deb)
rpm=$(echo "$dist/gpulease-$version-1".*.rpm)
for package in "$deb" "$rpm"; do
    [ -f "$package" ] || die "$package is not there: run \`make packages\`"
done

work=$(mktemp -d)
cleanup() {
    rc=$?
    trap - EXIT INT TERM HUP
    lab_end
    rm -rf --one-file-system "$work"
    exit "$rc"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

# The date of the packages, even if there are later commits.
SOURCE_DATE_EPOCH=$(rpm -qp --queryformat '%{BUILDTIME}' "$rpm" 2>/dev/null)
export SOURCE_DATE_EPOCH
title "the same packages again, and a later version"
"$top/packaging/packages.sh" "$work/again" 1 >/dev/null
check "the deb is the same to the byte" cmp "$deb" "$work/again/${deb##*/}"
check "the rpm is the same to the byte" cmp "$rpm" "$work/again/${rpm##*/}"
"$top/packaging/packages.sh" "$work/next" 2 >/dev/null
next_deb=$(echo "$work/next/gpulease_$version-2"_*.deb)
next_rpm=$(echo "$work/next/gpulease-$version-2".*.rpm)

content
docker_life
rpm_life
summary
