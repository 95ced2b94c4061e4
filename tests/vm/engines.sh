# shellcheck shell=bash disable=SC2034,SC2154
# For each engine: gpulease is installed, the engine restarts, containers use it, and it is
# uninstalled; then the engine's files are as before and it works without gpulease. No engine may
# know gpulease before. Debian 13 has neither k3s nor CRI-O, so these are missing here. Read by
# guest.sh, which has the variables.

# ---- /etc ----

etc_attributes() {
    find /etc -path /etc/gpulease -prune -o -printf '%p %y %m %U %G %l\n' | sort
}

keep_etc() {
    rm -rf --one-file-system "${state:?}/etc"
    cp -a /etc "$state/etc"
    etc_attributes >"$state/etc.attributes"
}

# All of /etc but gpulease's own directory: contents, links, modes and owners.
etc_is_as_kept() {
    diff --recursive --no-dereference --exclude gpulease "$state/etc" /etc &&
        etc_attributes | diff "$state/etc.attributes" -
}

# ---- what each engine does: uses_ENGINE HANDLER, works_alone_ENGINE, forgets_ENGINE ----

# For the shell in a container.
# shellcheck disable=SC2016
opens_first='exec 3<>/dev/nvidia0 && echo opened $NVIDIA_VISIBLE_DEVICES'
has_no_first='test ! -e /dev/nvidia0 && echo none'

# run_ENGINE HANDLER COMMAND: a container that asks for the first device. HANDLER is the runtime
# that the container names, or empty for the engine's default.
run_docker() {
    docker run --rm --network none ${1:+--runtime "$1"} --annotation gpulease/devices=0 \
        "$image" sh -c "$2"
}
run_podman() {
    podman ${1:+--runtime "$1"} run --rm --network none --annotation gpulease/devices=0 \
        "$image" sh -c "$2"
}

uses_docker() { is "opened $(uuid 0)" run_docker "$1" "$opens_first"; }
uses_podman() { is "opened $(uuid 0)" run_podman "$1" "$opens_first"; }
# By a pod of the CRI plugin, as kubelet starts it.
uses_containerd() {
    local pid
    start_pod web "$1" 0 && pid=$(task_pid "$container_id") && has_only "$pid" 0 3 &&
        is_bound "$container_id" "$pid" 0 "${container_cgroup/ID/$container_id}" && remove_pod
}

# The annotation has no meaning without gpulease.
works_alone_docker() {
    docker_default_is runc && is none run_docker '' "$has_no_first"
}
works_alone_podman() { is none run_podman '' "$has_no_first"; }
works_alone_containerd() {
    start_pod alone '' 0 && not test -e "/proc/$(task_pid "$container_id")/root/dev/nvidia0" &&
        remove_pod
}

forgets_docker() { refused 'unknown or invalid runtime' run_docker gpulease true; }
forgets_podman() { refused 'not found' run_podman gpulease true; }
forgets_containerd() { refused 'no runtime for "gpulease"' start_pod rival gpulease 0; }

# ---- the tour ----

# Units may start three times a minute only; the test restarts them more often.
restarts() { # UNIT
    systemctl reset-failed "$1" && systemctl restart "$1"
}

docker_default_is() { # RUNTIME
    is "$1" docker info --format '{{.DefaultRuntime}}'
}

# After a reload dockerd keeps the runtime, and the default too if the file is not removed. Should
# this fail one day, `uninstall` need not advise a restart any more.
docker_still_knows() { # HANDLER
    docker info --format '{{json .Runtimes}}' | jq -e 'has("gpulease")' || return
    [ -n "$1" ] || [ ! -e /etc/docker/daemon.json ] || docker_default_is gpulease
}

# tour WHAT ENGINE HANDLER [OPTION...]: OPTION is given to `install`.
tour() {
    local what=$1 engine=$2 handler=$3 reload=(--reload) note
    part "$what: install, restart, use, uninstall"
    case $engine in
    docker) note='until it is restarted' ;;
    containerd) note='done: systemctl restart containerd' ;;
    # Podman is no service: it reads its files for each command.
    podman) note='is removed' reload=() ;;
    esac
    keep_etc
    check "$what: gpulease is installed" gpulease install "$engine" "${@:4}" "${reload[@]}"
    check "$what: doctor finds nothing" finds_nothing
    check "$what: a container has its device" "uses_$engine" "$handler"
    if [ "$engine" != podman ]; then
        check "$what: the engine restarts" restarts "$engine"
        check "$what: a container has its device then" "uses_$engine" "$handler"
    fi
    check "$what: no lease is left" are 0 holders
    check "$what: gpulease is uninstalled" \
        says "$note" gpulease uninstall "$engine" "${reload[@]}"
    check "$what: /etc is as before, to the byte" etc_is_as_kept
    if [ "$engine" = docker ]; then
        check "$what: dockerd keeps gpulease until it is restarted" docker_still_knows "$handler"
    fi
    if [ "$engine" != podman ]; then
        check "$what: the engine restarts without gpulease" restarts "$engine"
    fi
    check "$what: a container starts without gpulease" "works_alone_$engine"
    check "$what: the engine does not know gpulease" "forgets_$engine"
}

# ---- Docker ----

# The unit runs dockerd with these flags.
docker_flags() { # FLAG...
    mkdir -p /etc/systemd/system/docker.service.d
    printf '[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// %s\n' "$*" \
        >/etc/systemd/system/docker.service.d/flags.conf
    systemctl daemon-reload
    restarts docker
}

# refuses_default WHAT: dockerd has a flag for its default runtime, and would not start if its file
# named one too.
refuses_default() {
    keep_etc
    check "$1: install --default-runtime refuses" \
        refused --default-runtime= gpulease install docker --default-runtime --reload
    check "$1: /etc is as before, to the byte" etc_is_as_kept
    check "$1: Docker restarts" restarts docker
}

# With the default low-level runtime, runc.
rm -f /etc/gpulease/config.toml

tour "Docker" docker gpulease
tour "Docker's default" docker '' --default-runtime
# The flags say what the file said.
mv /etc/docker/daemon.json "$state/daemon.json.kept"
check "Docker starts without a file, by flags" \
    docker_flags --bridge=none --iptables=false --ip6tables=false
tour "Docker without a file" docker '' --default-runtime
mv "$state/daemon.json.kept" /etc/docker/daemon.json
# dockerd refuses a setting that a flag and the file have, but merges runtimes of both.
check "Docker starts with its file and flags for runtimes" \
    docker_flags --default-runtime=runc --add-runtime=other=/usr/bin/crun
tour "Docker with flags" docker gpulease
refuses_default "a flag"
rm /etc/systemd/system/docker.service.d/flags.conf
systemctl daemon-reload
# Debian's unit takes flags from this file.
cp /etc/default/docker "$state/default-docker"
echo 'DOCKER_OPTS="--default-runtime=runc"' >/etc/default/docker
refuses_default "a flag in the environment file"
cp "$state/default-docker" /etc/default/docker
check "Docker starts with its file alone" restarts docker

# ---- Podman ----

tour "Podman" podman gpulease
tour "Podman's default" podman '' --default-runtime
tour "Podman's hook" podman '' --precreate

# ---- containerd ----

pause=registry.k8s.io/pause:3.8
# The images go from Docker to the CRI plugin.
import_to_containerd() {
    docker import --change 'CMD ["/bin/sleep", "1000000"]' /tests/busybox.tar "$pause" &&
        docker image save --output "$state/images.tar" "$image" "$pause" &&
        ctr --namespace "$kubernetes" images import "$state/images.tar" &&
        within 20 cri_has_images
}
cgroup_parent=/gpulease-test container_cgroup=/gpulease-test/ID
check "containerd has the images" import_to_containerd
tour "containerd" containerd gpulease
tour "containerd's default" containerd '' --default-runtime
# The file that kubeadm's documentation has administrators make.
containerd config default | sed 's/SystemdCgroup = false/SystemdCgroup = true/' \
    >"$state/config.toml"
cp "$state/config.toml" /etc/containerd/config.toml
cgroup_parent=gpulease-test.slice
container_cgroup=/gpulease.slice/gpulease-test.slice/cri-containerd-ID.scope
check "containerd starts with systemd's cgroup driver" restarts containerd
tour "containerd with systemd" containerd gpulease
