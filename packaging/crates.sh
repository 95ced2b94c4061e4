#!/bin/bash
# Prints the crates of which the programs are built, each with its licence and its notices.
set -euo pipefail
cd "$(dirname "$0")/.."

sources=${CARGO_HOME:-$HOME/.cargo}/registry/src
cat <<'EOF'
The programs of gpulease contain Rust's standard library (MIT or Apache-2.0) and the crates below.
The static ones also contain their C library (musl: MIT; glibc: LGPL-2.1-or-later).
EOF
cargo tree --locked --edges normal --prefix none --no-dedupe --format '{p}|{l}' |
    sed 's/ (proc-macro)//' | grep -v '^gpulease ' | sort -u |
    while IFS='|' read -r crate licence; do
        name=${crate% v*}
        version=${crate##* v}
        directory=$(echo "$sources"/*/"$name-$version")
        [ -d "$directory" ] || { echo "crates: no $directory" >&2; exit 1; }
        printf '\n==== %s %s: %s\n' "$name" "$version" "$licence"
        find "$directory" -maxdepth 1 -type f \
            \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' \) | LC_ALL=C sort |
            while read -r file; do
                printf '\n---- %s\n\n' "$(basename "$file")"
                cat "$file"
            done
    done
