#!/bin/bash
# As docker.sh, with containerd alone, for ctr. --config is not looked at.
#
# ctr puts the cgroup of a container below one that is named after its
# namespace: with `ctr --namespace NAME` it is the lab's, and goes with it.
# There are no images: a root file system for `--rootfs` is at /srv/busybox.

# shellcheck source=tests/lab/engine.sh
. "$(dirname "$(readlink -f "$0")")/engine.sh"

engine_root() {
    data_dir "$tmp/containerd" /var/lib/containerd
}

engine_start() { start_containerd; }

engine_images() { "$here/bundle.sh" --rootfs "$root/srv/busybox"; }

engine_clear() {
    local id ids
    ids=$(timeout 10 nsenter --mount --target "$inside" ctr -n "$name" tasks ls -q 2>/dev/null || true)
    for id in $ids; do
        timeout 10 nsenter --mount --target "$inside" ctr -n "$name" tasks rm -f "$id" >/dev/null 2>&1 || true
    done
    stop "$containerd_pid"
}

lab_main containerd "$@"
