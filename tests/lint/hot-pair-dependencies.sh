#!/usr/bin/env bash
# Checks that the programs on the path of every container start have exactly the listed
# dependencies. A commit that adds one must add it to the list and say why.
set -euo pipefail
cd "$(dirname "$0")/../.."
list=tests/lint/hot-pair-dependencies.txt
now=$(cargo tree --locked --edges normal --no-default-features --prefix none --format '{p}' |
	sed 's/ .*//' | sort -u | grep -v '^gpulease$')
if [ "${1:-}" = --update ]; then
	printf '%s\n' "$now" >"$list"
fi
if ! diff -u "$list" <(printf '%s\n' "$now"); then
	echo "the hot pair's dependencies changed; see $0" >&2
	exit 1
fi
