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

engine_start() { start_bare_containerd; }

engine_images() { "$here/bundle.sh" --rootfs "$root/srv/busybox"; }

engine_clear() {
    remove_tasks "$name"
    stop "$containerd_pid"
}

lab_main containerd "$@"
