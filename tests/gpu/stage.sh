#!/bin/bash
# Lays out all files that run.sh needs on a machine without package installation.
#
#   stage.sh BIN_DIR EXAMPLES_DIR DIR
set -euo pipefail

[ $# = 3 ] || { echo "usage: stage.sh BIN_DIR EXAMPLES_DIR DIR" >&2; exit 1; }
bin=$1 examples=$2 dir=$3
PATH=$PATH:/usr/sbin:/sbin

rm -rf --one-file-system "$dir"
mkdir -p "$dir/lib"
install -m 0755 "$bin"/gpulease* "$examples/cuda-check" "$examples/cuda-share" tests/gpu/run.sh "$(command -v runc)" /bin/busybox "$dir/"
# runc's libraries except the C library, which every machine has.
ldd "$(command -v runc)" | grep -o '/[^ ]*' | grep -v '/\(libc\|ld-linux[^/]*\|libpthread\|libdl\)\.so' |
    xargs -r -I{} cp -L {} "$dir/lib/"
echo "copy $dir to a machine with an NVIDIA GPU, and run there as root: run.sh ."
