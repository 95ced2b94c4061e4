# shellcheck shell=bash disable=SC2016,SC2154
# The part of demo.sh that needs Docker; read by it, not run. demo.sh has the variables, and
# engine.sh the steps.
#
# It runs a separate dockerd and containerd. Their files are below $D/docker, demo.sh has put an
# empty /run over the host's, and their network namespace is new: a dockerd with --bridge=none
# deletes the docker0 that it finds.

docker_dir=$D/docker
docker_pid='' docker_net='' docker_opt=''

# Succeeds if Docker's steps can be shown; otherwise says in one line why not.
docker_usable() {
    local why
    if [ "${GPULEASE_DEMO_DOCKER-}" = no ]; then
        why='GPULEASE_DEMO_DOCKER=no'
    elif ! command -v dockerd >/dev/null; then
        why='no dockerd on this machine'
        ! command -v docker >/dev/null || why='this machine has only the client `docker`'
    elif [ "$(major_of dockerd)" -lt 24 ]; then
        why='this dockerd is older than 24 and has no --annotation'
    elif [ "$(major_of docker)" -lt 24 ]; then
        why='there is no client `docker` of version 24 or later'
    else
        return 0
    fi
    leave_out Docker "$why"
}

docker_start() {
    local deadline=$((SECONDS + 60)) net host_net
    mkdir "$docker_dir"
    # These settings of the client are for other daemons.
    unset DOCKER_CONTEXT DOCKER_TLS DOCKER_TLS_VERIFY DOCKER_CERT_PATH DOCKER_API_VERSION \
        DOCKER_DEFAULT_PLATFORM DOCKER_CONTENT_TRUST
    export DOCKER_HOST=unix://$docker_dir/sock DOCKER_CONFIG=$docker_dir/client
    # vfs needs no support by the kernel or the file system.
    jq -n --arg path "$(command -v gpulease-runtime)" --arg config "$GPULEASE_CONFIG" '{
        runtimes: {gpulease: {path: $path, runtimeArgs: ["--gpulease-config", $config]}},
        "storage-driver": "vfs", features: {"containerd-snapshotter": false}
    }' >"$docker_dir/daemon.json"
    hide_apparmor
    # containerd always makes this directory.
    [ -e /opt/containerd ] || docker_opt=/opt/containerd
    host_net=$(readlink /proc/self/ns/net)
    # In a new session, so that Ctrl-C reaches only the demo, which then ends dockerd in order.
    env -i PATH="$PATH" LANG=C.UTF-8 setsid setpriv --pdeathsig KILL unshare --net \
        dockerd --config-file "$docker_dir/daemon.json" --log-level warn \
        --data-root "$docker_dir/data" --exec-root "$docker_dir/exec" \
        --pidfile "$docker_dir/pid" -H "$DOCKER_HOST" --bridge=none --iptables=false \
        --ip6tables=false --ip-forward=false --cgroup-parent "$cgroup_parent" \
        --exec-opt native.cgroupdriver=cgroupfs </dev/null >"$docker_dir/log" 2>&1 &
    docker_pid=$!
    disown "$docker_pid" # else the shell would report its end
    until docker version >/dev/null 2>&1; do
        # At first the process is not dockerd yet, and shares this process's network.
        net=$(readlink "/proc/$docker_pid/ns/net") || net=$host_net
        [ "$net" = "$host_net" ] || docker_net=$net
        kill -0 "$docker_pid" 2>/dev/null || docker_failed 'dockerd ended at start'
        [ $SECONDS -lt $deadline ] || docker_failed 'dockerd does not answer'
        sleep 0.1
    done
    docker_net=$(readlink "/proc/$docker_pid/ns/net")
}

docker_failed() {
    say "$1. The end of its log:"
    tail -n 5 "$docker_dir/log" | fold -s -w 76 | sed 's/^/    /'
    die "$1 (GPULEASE_DEMO_DOCKER=no leaves Docker out)"
}

# The processes on the daemon's network: the daemon, containerd with its shims, and runtimes that
# hang. Containers have their own network, and a cgroup that demo.sh empties.
docker_processes() {
    local proc
    [ -n "$docker_net" ] && [ "$docker_net" != "$(readlink /proc/self/ns/net)" ] || return 0
    for proc in /proc/[0-9]*; do
        [ "$(readlink "$proc/ns/net" 2>/dev/null)" != "$docker_net" ] || echo "${proc#/proc/}"
    done
}
docker_gone() { [ -z "$(docker_processes)" ]; }

docker_mounts() {
    awk -v below="$docker_dir/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo | sort -r
}

docker_left_nothing() { docker_gone && [ -z "$(docker_mounts)" ]; }

# Ends the daemon, with SIGTERM first. Called at the end and after a failure. Never fails.
docker_stop() {
    local pid try ids
    [ -n "$docker_pid" ] || return 0
    ids=$(timeout 10 docker ps --all --quiet 2>/dev/null) || true
    # shellcheck disable=SC2086  # one word for each container is meant
    [ -z "$ids" ] || timeout 20 docker rm --force $ids >/dev/null 2>&1 || true
    kill -TERM "$docker_pid" 2>/dev/null || true
    for ((try = 0; try < 200; try++)); do
        kill -0 "$docker_pid" 2>/dev/null || break
        sleep 0.05
    done
    kill -KILL "$docker_pid" 2>/dev/null || true
    # containerd ends with it. If the daemon had to be killed, a shim may stay.
    for pid in $(docker_processes); do
        kill -KILL "$pid" 2>/dev/null || true
    done
    until_true docker_gone || true
    docker_mounts | while read -r at; do
        umount -l "$at" 2>/dev/null || true
    done
    [ -z "$docker_opt" ] || rmdir "$docker_opt"/* "$docker_opt" 2>/dev/null || true
    docker_pid=''
}

docker_steps() {
    heading 'Docker, with gpulease as a runtime'
    say 'This demo runs its own dockerd, with its own files and network. A Docker that this' \
        'machine already runs is not used and not changed.'
    docker_start
    show 'docker version --format "{{.Client.Version}} {{.Server.Version}}"'
    say '' 'A host has this in /etc/docker/daemon.json:'
    show 'jq "{runtimes}" docker/daemon.json'
    show 'tar -C rootfs -c . | docker import - busybox'

    # Docker passes the reason on, with its own status for a failed start.
    engine_steps Docker docker 'docker run --runtime gpulease' 125 \
        '^docker: Error response from daemon: .*gpulease: no-capacity: ' 'docker rm --force'
    docker_stop
    expect 'the daemon leaves no process and no mount' docker_left_nothing
}
