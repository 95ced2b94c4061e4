#!/bin/bash
# Lays out the files of a package, with their paths and modes on a host.
#
#   stage.sh deb|rpm DIR
#
# The programs are those of dist/bin. SOURCE_DATE_EPOCH is the date in the manual pages.
set -euo pipefail

die() { echo "stage: $*" >&2; exit 1; }

case ${1-} in
deb) zsh=vendor-completions ;;
rpm) zsh=site-functions ;;
*) die "usage: stage.sh deb|rpm DIR" ;;
esac
kind=$1
root=$2
cd "$(dirname "$0")/.."
version=$(packaging/version.sh)
date=$(date -u -d "@${SOURCE_DATE_EPOCH:?}" +%F)
doc=usr/share/doc/gpulease

put() { install -D -m "$1" "$2" "$root/$3"; }
# -n: without name and time, which would differ between builds.
zipped() { gzip -9n | install -D -m 0644 /dev/stdin "$root/$1"; }
# The package's programs are in /usr/bin; programs that are built by hand are in /usr/local/bin.
packaged() { sed 's,/usr/local/bin/gpulease,/usr/bin/gpulease,g' "$1"; }

rm -rf --one-file-system "$root"
for program in gpulease gpulease-runtime gpulease-hook; do
    [ -x "dist/bin/$program" ] || die "dist/bin/$program is not there: run \`make build\`"
    put 0755 "dist/bin/$program" "usr/bin/$program"
done
built=$(dist/bin/gpulease --version)
[[ $built == "gpulease $version "* ]] || die "dist/bin has $built, not $version: run \`make build\`"
put 0644 packaging/tmpfiles.d/gpulease.conf usr/lib/tmpfiles.d/gpulease.conf

complete() { dist/bin/gpulease completions "$1" | install -D -m 0644 /dev/stdin "$root/$2"; }
complete bash usr/share/bash-completion/completions/gpulease
complete zsh "usr/share/zsh/$zsh/_gpulease"
complete fish usr/share/fish/vendor_completions.d/gpulease.fish

for page in packaging/man/*.[1-8]; do
    name=$(basename "$page")
    packaged "$page" | sed "s/^\\(\\.TH [^ ]* [1-8]\\) \"\" \"gpulease\"/\\1 \"$date\" \"gpulease $version\"/" |
        zipped "usr/share/man/man${name##*.}/$name.gz"
done

put 0644 README.md "$doc/README.md"
zipped "$doc/changelog.gz" <CHANGELOG.md
put 0644 packaging/deb/copyright "$doc/copyright"
packaging/crates.sh | zipped "$doc/crates.gz"
put 0644 packaging/config.toml "$doc/examples/config.toml"
for file in packaging/examples/*; do
    put 0644 "$file" "$doc/examples/$(basename "$file")"
done
# These are examples only. `gpulease install` writes the files that engines read, and knows how to
# remove them.
find hooks -type f | while read -r file; do
    packaged "$file" | install -D -m 0644 /dev/stdin "$root/$doc/$file"
done
[ "$kind" = rpm ] || put 0644 packaging/deb/lintian-overrides usr/share/lintian/overrides/gpulease
