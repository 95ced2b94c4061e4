# shellcheck shell=bash
# Read, not run, by scripts that fetch Debian packages without installing them.
#
# fetch WORK LOG SOURCE OPTION... -- PACKAGE...   puts the packages into WORK/debs. SOURCE is a line
#     of sources.list(5) without the signature; each OPTION is given to apt-get. The host's packages
#     and sources stay as they are. The lock on descriptor 8 is not inherited.
fetch() {
    local work=$1 log=$2 source=$3 options
    shift 3
    local own=()
    while [ "$1" != -- ]; do
        own+=("$1")
        shift
    done
    shift
    mkdir -p "$work"/{apt/{lists/partial,cache/archives/partial,parts},debs,root}
    : >"$work/apt/status"
    local keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    printf '%s\n' "${source/deb [/deb [signed-by=$keyring }" >"$work/apt/sources.list"
    options=(
        -o "Dir::State::Lists=$work/apt/lists" -o "Dir::State::status=$work/apt/status"
        -o "Dir::Cache=$work/apt/cache" -o "Dir::Etc::SourceList=$work/apt/sources.list"
        -o "Dir::Etc::SourceParts=$work/apt/parts" -o "APT::Sandbox::User=root" "${own[@]}"
    )
    if ! {
        apt-get -q "${options[@]}" update &&
            (cd "$work/debs" && apt-get -q "${options[@]}" download "$@")
    } >"$log" 2>&1 8>&-; then
        tail -n 15 "$log" >&2
        die "apt-get could not fetch $*; the whole log is $log"
    fi
}
