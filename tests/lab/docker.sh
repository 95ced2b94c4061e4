#!/bin/bash
# Runs a real dockerd with its containerd. It has its own mounts, /run, data, cgroup
# and network, and shares only the cached lab root (setup.sh). Several labs may run at
# the same time.
#
#   docker.sh --bin DIR --etc DIR [--config FILE] [--cgroup v1|v2]
#
#   --bin DIR         gpulease's programs; read-only at /opt/gpulease/bin
#   --etc DIR         is /etc/gpulease, writable
#   --config FILE     is copied to /etc/docker/daemon.json
#   --cgroup VERSION  default v1; v2 works only if the host has its controllers there
#
# Prints one line when Docker answers and has the images:
#
#   ready pid=PID root=ROOT name=NAME
#
# Then `nsenter --mount --net --target PID CMD...` runs CMD in the lab (with
# --cgroup v2, nsenter needs --cgroup too). ROOT is `/`, its root: the lab's files are
# at /proc/PID/root. The lab ends when stdin reaches end of file, on SIGTERM, SIGINT or
# SIGHUP, and when this process is killed.
#
# The whole of ROOT is writable. Writes belong to this lab and are kept in memory.
# /dev has no GPU nodes: a test makes the nodes that it needs.
#
# Images: busybox:lab, and busybox:allgpus, which adds NVIDIA_VISIBLE_DEVICES=all as
# CUDA's images do.

# shellcheck source=tests/lab/engine.sh
. "$(dirname "$(readlink -f "$0")")/engine.sh"

dockerd_pid=''

engine_root() {
    mkdir -p "$root/etc/docker"
    data_dir "$tmp/docker" /var/lib/docker
    data_dir "$tmp/containerd" /var/lib/containerd
    [ -z "$config" ] || cp "$config" "$root/etc/docker/daemon.json"
}

engine_start() {
    start_bare_containerd
    # The lab's network is empty: Docker has nothing to bridge, to filter or to forward.
    daemon "$tmp/dockerd.log" dockerd --containerd /run/containerd/containerd.sock \
        -H unix:///run/docker.sock --cgroup-parent "/$name" \
        --exec-opt native.cgroupdriver=cgroupfs --bridge=none --iptables=false \
        --ip6tables=false --ip-forward=false
    dockerd_pid=$!
    wait_for "$dockerd_pid" "$tmp/dockerd.log" docker version
}

engine_images() {
    image_tar &&
        in_root docker import --change "$image_path" --change 'CMD ["sh"]' - busybox:lab \
            <"$tmp/image.tar" &&
        in_root docker import --change "$image_path" --change 'CMD ["sh"]' \
            --change "$image_all" - busybox:allgpus <"$tmp/image.tar"
}

engine_clear() {
    local ids
    # With time limits: a runtime that hangs must not keep the lab alive.
    if [ -n "$dockerd_pid" ]; then
        ids=$(timeout 10 nsenter --mount --target "$inside" docker ps -aq 2>/dev/null || true)
        # shellcheck disable=SC2086  # one word for each container is meant
        [ -z "$ids" ] || timeout 30 nsenter --mount --target "$inside" docker rm -f $ids >/dev/null 2>&1 || true
    fi
    stop "$dockerd_pid"
    stop "$containerd_pid"
}

lab_main docker "$@"
