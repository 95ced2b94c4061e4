# shellcheck shell=bash disable=SC2016,SC2154
# The part of demo.sh that needs Podman; read by it, not run. demo.sh has the variables, and
# engine.sh the steps.
#
# Podman has no daemon. Its images, containers, settings and locks are below $D/podman and on
# file systems that only this demo sees. So the host's Podman is not used and not changed.

podman_dir=$D/podman
podman_used=''

# Succeeds if Podman's steps can be shown; otherwise says in one line why not.
podman_usable() {
    local why
    if [ "${GPULEASE_DEMO_PODMAN-}" = no ]; then
        why='GPULEASE_DEMO_PODMAN=no'
    elif ! command -v podman >/dev/null; then
        why='no podman on this machine'
    elif [ "$(major_of podman)" -lt 5 ]; then
        why='this podman is older than 5'
    else
        return 0
    fi
    leave_out Podman "$why"
}

podman_start() {
    mkdir "$podman_dir"
    unset CONTAINER_HOST CONTAINER_CONNECTION
    export CONTAINERS_CONF=$podman_dir/containers.conf \
        CONTAINERS_STORAGE_CONF=$podman_dir/storage.conf PODMAN_IGNORE_CGROUPSV1_WARNING=1
    # Podman's locks are in /dev/shm, under the same name for all.
    mount -t tmpfs -o mode=1777 gpulease-demo /dev/shm || die 'cannot mount a tmpfs at /dev/shm'
    hide_apparmor
    {
        printf '[engine.runtimes]\ngpulease = ["%s"]\n' "$(command -v gpulease-runtime)"
        # For this demo only: no systemd, and no files outside of its directory.
        printf '\n[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n'
        printf 'static_dir = "%s"\nvolume_path = "%s"\ntmp_dir = "/run/libpod"\n' \
            "$podman_dir/static" "$podman_dir/volumes"
        printf '\n[network]\nnetwork_config_dir = "%s"\n' "$podman_dir/networks"
    } >"$CONTAINERS_CONF"
    # vfs needs no support by the kernel or the file system.
    printf '[storage]\ndriver = "vfs"\nrunroot = "/run/containers/storage"\ngraphroot = "%s"\n' \
        "$podman_dir/storage" >"$CONTAINERS_STORAGE_CONF"
    podman_used=yes
}

# Podman puts conmon below the demo's cgroup, and also a runtime that hangs.
podman_left_nothing() {
    ! cgroups_of_ours | while read -r name; do cat "$name/cgroup.procs"; done 2>/dev/null | grep -q .
}

# Called at the end and after a failure. Never fails.
podman_stop() {
    [ -n "$podman_used" ] || return 0
    timeout 20 podman rm --all --force --time 0 >/dev/null 2>&1 || true
    until_true podman_left_nothing || true
    awk -v below="$podman_dir/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo | sort -r |
        while read -r at; do
            umount -l "$at" 2>/dev/null || true
        done
    podman_used=''
}

podman_steps() {
    heading 'Podman, with gpulease as a runtime'
    say 'This demo has its own files and settings. Images and containers that this machine' \
        'already has are not used.'
    podman_start
    show 'podman --version'
    say '' 'A host has this in /etc/containers/containers.conf.d/60-gpulease.conf:'
    show 'head -n 2 podman/containers.conf'
    show 'tar -C rootfs -c . | podman import - busybox'

    # Podman has no setting for the cgroup of its containers, so each has the option.
    engine_steps Podman podman "podman --runtime gpulease run --cgroup-parent $cgroup_parent" 126 \
        '^Error: OCI runtime error: .*gpulease: no-capacity: ' 'podman rm --force --time 0'
    podman_stop
    expect 'Podman leaves no process' podman_left_nothing
}
