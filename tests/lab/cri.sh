#!/bin/bash
# As docker.sh, with a containerd as on a Kubernetes node: its CRI plugin is on.
#
# --config FILE is copied to /etc/containerd/config.toml, and `gpulease install containerd` edits
# it before containerd reads it. Nothing else tells containerd about gpulease.
#
# There is no CNI plugin, so pods must use the lab's network. Images: localhost/pause:lab and
# busybox:1.36. Both are the same image, which sleeps. The test must put the cgroups of pods below
# the lab's cgroup, /NAME, which ends with the lab.

# shellcheck source=tests/lab/engine.sh
. "$(dirname "$(readlink -f "$0")")/engine.sh"

engine_root() {
    data_dir "$tmp/containerd" /var/lib/containerd
    mkdir -p "$root/etc/containerd"
    [ -z "$config" ] || cp "$config" "$root/etc/containerd/config.toml"
}

engine_start() {
    in_root /opt/gpulease/bin/gpulease install containerd >"$tmp/install.log" 2>&1 ||
        fail "gpulease install containerd fails" "$tmp/install.log"
    # The plugin serves streams at an address of `lo`, and does not start without it.
    in_root busybox ip link set lo up
    start_containerd
    wait_for "$containerd_pid" "$tmp/containerd.log" sh -c '
        ctr plugins ls | grep -E "[.]v1 +cri +.* ok *$"'
}

# One layer and its configuration, in the format of `docker save`.
image_archive() {
    local image=$tmp/archive
    mkdir "$image"
    image_tar && mv "$tmp/image.tar" "$image/layer.tar"
    jq -n --arg layer "sha256:$(sha256sum <"$image/layer.tar" | cut -d' ' -f1)" \
        --arg path "${image_path#ENV }" --arg arch "$(in_root dpkg --print-architecture)" '{
            architecture: $arch, os: "linux",
            config: { Env: [$path], Cmd: ["sleep", "1000000"] },
            rootfs: { type: "layers", diff_ids: [$layer] }
        }' >"$image/config.json"
    jq -n '[{ Config: "config.json", Layers: ["layer.tar"],
        RepoTags: ["localhost/pause:lab", "docker.io/library/busybox:1.36"] }]' \
        >"$image/manifest.json"
    tar -C "$image" -cf "$tmp/image.tar" manifest.json config.json layer.tar
}

engine_images() { image_archive && in_root ctr -n k8s.io images import - <"$tmp/image.tar"; }

engine_clear() {
    remove_tasks k8s.io
    stop "$containerd_pid"
}

lab_main cri "$@"
