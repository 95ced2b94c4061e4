#!/bin/bash
# Runs a real dockerd, with its containerd, that shares nothing but a cached
# lab root (setup.sh) with anyone: own mounts, own /run, own data, own cgroup,
# own network. Any number may run at once.
#
#   docker.sh --bin DIR --etc DIR [--config FILE] [--cgroup v1|v2]
#
#   --bin DIR         gpulease's programs; read-only at /opt/gpulease/bin
#   --etc DIR         is /etc/gpulease, writable
#   --config FILE     is copied to /etc/docker/daemon.json
#   --cgroup VERSION  default v1; v2 only where the host keeps its controllers
#                     there
#
# Prints one line when Docker answers and the images are in:
#
#   ready pid=PID root=ROOT name=NAME
#
# and from then on `nsenter --mount --net --target PID CMD...` runs CMD in there
# (with --cgroup v2, nsenter wants --cgroup too), and ROOT, which is `/`, is its
# root: the lab's files are at /proc/PID/root. All of it goes away when stdin
# reaches end of file, on SIGTERM, SIGINT or SIGHUP, and also when this process
# is killed outright.
#
# The whole of ROOT is writable; writes are this lab's own and kept in memory.
# Its /dev has no GPU nodes: a test makes the ones that it wants.
#
# Images: busybox:lab, and busybox:allgpus, the same with
# NVIDIA_VISIBLE_DEVICES=all as CUDA's images have it.

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
    # Their network is empty: nothing to bridge, to filter or to forward.
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
    # A runtime that hangs must not keep the lab alive.
    if [ -n "$dockerd_pid" ]; then
        ids=$(timeout 10 nsenter --mount --target "$inside" docker ps -aq 2>/dev/null || true)
        # shellcheck disable=SC2086  # one word for each container is meant
        [ -z "$ids" ] || timeout 30 nsenter --mount --target "$inside" docker rm -f $ids >/dev/null 2>&1 || true
    fi
    stop "$dockerd_pid"
    stop "$containerd_pid"
}

lab_main docker "$@"
