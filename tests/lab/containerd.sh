#!/bin/bash
# As docker.sh, with containerd alone, for ctr. --config has no effect.
#
# ctr names the parent cgroup of a container after its namespace. With
# `ctr --namespace NAME` that is the lab's cgroup, which ends with the lab.
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
