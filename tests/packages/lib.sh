# shellcheck shell=bash
# The common functions of the package tests. Sourced by a script with `set -eu`.

passed=0
failed=0

title() { printf '\n== %s\n' "$*"; }
die() { echo "test-packages: $*" >&2; exit 1; }

ok() { passed=$((passed + 1)); echo "ok      $*"; }
not_ok() { failed=$((failed + 1)); echo "NOT OK  $*"; }

# check WHAT CMD...: CMD succeeds. If it fails, its output is shown.
check() {
    local what=$1 said
    shift
    if said=$("$@" 2>&1); then ok "$what"; else
        not_ok "$what: $*"
        printf '%s\n' "$said" | sed 's/^/        /'
    fi
}

# same WHAT EXPECTED FOUND
same() {
    if [ "$2" = "$3" ]; then ok "$1"; else
        not_ok "$1"
        diff <(printf '%s\n' "$2") <(printf '%s\n' "$3") | sed 's/^/        /'
    fi
}

# has WHAT TEXT PART
has() {
    if [[ $2 == *"$3"* ]]; then ok "$1"; else
        not_ok "$1: not in the text: $3"
        printf '%s\n' "$2" | sed 's/^/        /'
    fi
}

# lacks WHAT TEXT PART
lacks() {
    if [[ $2 != *"$3"* ]]; then ok "$1"; else
        not_ok "$1: in the text: $3"
        printf '%s\n' "$2" | sed 's/^/        /'
    fi
}

# eventually WHAT CMD...: CMD succeeds within 20 seconds.
eventually() {
    local what=$1 deadline=$((SECONDS + 20))
    shift
    until "$@" >/dev/null 2>&1; do
        if [ $SECONDS -ge $deadline ]; then
            check "$what" "$@"
            return
        fi
        sleep 0.1
    done
    ok "$what"
}

# need PROGRAM PACKAGE: installs a tool that is missing. No test is skipped.
need() {
    command -v "$1" >/dev/null || apt-get install -y -q --no-install-recommends "$2" >/dev/null ||
        die "$1 is not there and $2 cannot be installed"
}

# Prints "N passed, N failed", and fails if a check failed.
summary() {
    printf '\n%d passed, %d failed\n' "$passed" "$failed"
    [ "$failed" = 0 ] && [ "$passed" != 0 ]
}
