#!/bin/bash
# As docker.sh, with Podman, which has no daemon. --config FILE is copied into
# /etc/containers/containers.conf.d.
#
# Podman has no setting for the cgroup of its containers. Tests must make them with
# `--cgroup-parent /NAME`, or they stay if the lab is killed. Images are those of
# docker.sh, under `localhost/`.

# shellcheck source=tests/lab/engine.sh
. "$(dirname "$(readlink -f "$0")")/engine.sh"

engine_root() {
    # On tmpfs, where an overlay always works.
    data_dir "$tmp/layer/containers" /var/lib/containers
    mkdir -p "$root/etc/containers/containers.conf.d" "$root/var/tmp"
    printf '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n' \
        >"$root/etc/containers/containers.conf.d/00-lab.conf"
    printf '[storage]\ndriver = "overlay"\nrunroot = "%s"\ngraphroot = "%s"\n' \
        /run/containers/storage /var/lib/containers/storage >"$root/etc/containers/storage.conf"
    [ -z "$config" ] || cp "$config" "$root/etc/containers/containers.conf.d/50-test.conf"
}

podman() {
    in_root env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
        PODMAN_IGNORE_CGROUPSV1_WARNING=1 podman "$@"
}

engine_start() { :; }

engine_images() {
    image_tar &&
        podman import --change "$image_path" --change 'CMD ["sh"]' - busybox:lab \
            <"$tmp/image.tar" &&
        podman import --change "$image_path" --change 'CMD ["sh"]' \
            --change "$image_all" - busybox:allgpus <"$tmp/image.tar"
}

engine_clear() {
    # With a time limit: a runtime that hangs must not keep the lab alive.
    export -f podman in_root
    export inside
    timeout -k 5 30 bash -c 'podman pod rm -fa -t 0; podman rm -fa -t 0' >/dev/null 2>&1 || true
}

lab_main podman "$@"
