# shellcheck shell=bash
# What docker.sh, podman.sh, containerd.sh and cri.sh have in common: a lab that shares
# nothing but a cached root (setup.sh) with anyone, and of which nothing is left
# however it ends. Sourced by a script that then calls "lab_main ENGINE ARG..."
# and defines
#
#   engine_root    more of the root, before it is entered
#   engine_start   starts the daemons, if any, and waits for their answer
#   engine_images  brings the images in
#   engine_clear   removes all containers, through the engine, and ends the
#                  daemons
#
# with these at hand: $root, $tmp, $name (the lab's, and that of its cgroup),
# $config and the functions below. docker.sh tells what all of them promise.
set -eu

here=$(dirname "$(readlink -f "$0")")
self=$(readlink -f "$0")
suite=${GPULEASE_LAB_SUITE:-trixie}
cache=${GPULEASE_LAB_CACHE:-/var/cache/gpulease-lab}

die() { echo "lab $engine: $*" >&2; exit 1; }

# ---- the keeper: lives beside the lab's mount namespace and owns all of it ----

in_root() { nsenter --mount --net --target "$inside" "$@"; }

make_root() {
    mkdir "$tmp/layer" "$root"
    # The root is shared by all labs. An overlay gives each its own writes, and
    # tmpfs, unlike some hosts' /tmp, can always be the upper layer.
    mount -t tmpfs lab "$tmp/layer"
    mkdir "$tmp/layer/upper" "$tmp/layer/work"
    mount -t overlay -o "lowerdir=$cache/$suite,upperdir=$tmp/layer/upper,workdir=$tmp/layer/work" \
        lab "$root"

    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount -t tmpfs -o mode=755 lab "$root/run"
    mount -t tmpfs -o mode=1777 lab "$root/tmp"
    mkdir -p "$root/etc/gpulease" "$root/opt/gpulease/bin"
    mount --bind "$bin" "$root/opt/gpulease/bin"
    mount -o remount,bind,ro "$root/opt/gpulease/bin"
    mount --bind "$etc" "$root/etc/gpulease"
    make_dev
    engine_root
}

# Not the host's /dev: the nodes that tests make would then be everyone's. Those that the
# host has are here, whatever owner, group and mode they have there.
make_dev() {
    local dev=$root/dev node
    mount -t tmpfs -o mode=755 lab "$dev"
    for node in null zero full random urandom tty console kmsg fuse net/tun; do
        [ -e "/dev/$node" ] || continue
        mkdir -p "$(dirname "$dev/$node")"
        # shellcheck disable=SC2046  # two words
        mknod -m 666 "$dev/$node" c $(stat -L -c '0x%t 0x%T' "/dev/$node")
    done
    mkdir "$dev/pts" "$dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$dev/pts"
    ln -s pts/ptmx "$dev/ptmx"
    mount -t tmpfs -o mode=1777 lab "$dev/shm"
    ln -s /proc/self/fd "$dev/fd"
    ln -s fd/0 "$dev/stdin"
    ln -s fd/1 "$dev/stdout"
    ln -s fd/2 "$dev/stderr"
}

# Makes the mount namespace in which all of the lab runs, a network of its own for
# the daemons (a dockerd with --bridge=none deletes the docker0 that it finds), and a
# process that keeps both, whose process id is then in $inside. A chroot would not
# do: the root of a container's namespace would still be the host's, and that is where `docker exec`
# puts its process.
make_inside() {
    # shellcheck disable=SC2016  # not to be expanded here
    local become_root='cd "$1" && mkdir .host && pivot_root . .host && exec chroot . sh -c "
        busybox umount -l /.host && rmdir /.host && echo in && exec sleep infinity"'
    exec 6< <(exec setpriv --pdeathsig KILL unshare --mount --net --propagation private \
        sh -ec "$become_root" sh "$root" </dev/null)
    inside=$!
    read -r -u 6 _ || { echo "lab $engine: the lab root cannot be made the root" >&2; exit 1; }
    exec 6<&-
    readlink "/proc/$inside/ns/mnt" >"$tmp/namespace"
}

# Starts a daemon that dies with this process, even if that is killed outright.
# Its process id is then in $!. It gets neither the caller's stdout, which would
# keep a reader waiting, nor the pipe that tells when the script is gone, nor the
# environment, which would reach the runtime: a service has next to none.
daemon() { # LOG CMD...
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
        setpriv --pdeathsig KILL nsenter --mount --net --target "$inside" "${@:2}" \
        </dev/null >"$1" 2>&1 &
}

wait_for() { # PID LOG CMD...: until CMD succeeds, for at most a minute
    local deadline=$((SECONDS + 60)) what
    what=$(basename "$2" .log)
    until in_root "${@:3}" >/dev/null 2>&1; do
        kill -0 "$1" 2>/dev/null || fail "$what ended at start" "$2"
        [ $SECONDS -lt $deadline ] || fail "$what does not answer" "$2"
        sleep 0.1
    done
}

fail() { # MESSAGE LOG
    trap - EXIT
    {
        echo "lab $engine: $1"
        tail -n 30 "$2"
        # Everything else goes; this is kept for whoever must find out why.
        mkdir -p "$cache/failed"
        cat "$tmp"/*.log >"$cache/failed/$name.log"
        echo "lab $engine: all logs are in $cache/failed/$name.log"
    } >&2
    teardown
    exit 1
}

# An overlay cannot lie on an overlay: what an engine keeps containers in must be
# outside of the lab root.
data_dir() { # HOST-DIR DIR
    mkdir -p "$1" "$root$2"
    mount --bind "$1" "$root$2"
}

# Without its Kubernetes part, which looks for networks and is not asked for anything.
start_bare_containerd() {
    printf 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n' \
        >"$root/run/containerd.toml"
    start_containerd --config /run/containerd.toml
}

start_containerd() { # OPTION...
    daemon "$tmp/containerd.log" containerd "$@"
    containerd_pid=$!
    wait_for "$containerd_pid" "$tmp/containerd.log" ctr version
}

remove_tasks() { # NAMESPACE: all containers that run by containerd there, through containerd
    local id ids
    ids=$(timeout 10 nsenter --mount --target "$inside" ctr -n "$1" tasks ls -q 2>/dev/null || true)
    for id in $ids; do
        timeout 10 nsenter --mount --target "$inside" ctr -n "$1" tasks rm -f "$id" >/dev/null 2>&1 || true
    done
}

# The image of all labs, as $tmp/image.tar; how it is to be imported.
# shellcheck disable=SC2034  # for the scripts
image_path='ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
# shellcheck disable=SC2034
image_all='ENV NVIDIA_VISIBLE_DEVICES=all'

image_tar() {
    "$here/bundle.sh" --rootfs "$tmp/image" && tar -C "$tmp/image" -cf "$tmp/image.tar" .
}

stop() { # PID: ask, then insist
    local tries=0
    [ -n "$1" ] || return 0
    kill -TERM "$1" 2>/dev/null || return 0
    while kill -0 "$1" 2>/dev/null; do
        tries=$((tries + 1))
        [ $tries -ne 100 ] || kill -KILL "$1" 2>/dev/null || true
        sleep 0.1
    done
}

# Ends what lives in the lab's mount namespace besides the keeper: shims that
# outlived containerd, hanging runtimes, commands that a caller left there. A
# name would not tell them from another lab's; the namespace does.
kill_strays() { # NAMESPACE
    local proc pid
    for proc in /proc/[0-9]*; do
        pid=${proc#/proc/}
        [ "$pid" != $$ ] || continue
        [ "$(readlink "$proc/ns/mnt" 2>/dev/null || true)" = "$1" ] || continue
        kill -KILL "$pid" 2>/dev/null || true
    done
}

# Kills what is left of containers (they have mount namespaces of their own) and
# removes this lab's cgroup from every hierarchy.
remove_cgroups() {
    local dirs='' dir pid tries=0
    while [ $tries -lt 100 ]; do
        dirs=$(find /sys/fs/cgroup -mindepth 1 -maxdepth 2 -type d -name "$name" 2>/dev/null || true)
        [ -n "$dirs" ] || return 0
        for dir in $dirs; do
            find "$dir" -name cgroup.procs -exec cat {} + 2>/dev/null | while read -r pid; do
                [ "$pid" = 0 ] || kill -KILL "$pid" 2>/dev/null || true
            done
            find "$dir" -depth -type d -exec rmdir {} + 2>/dev/null || true
        done
        tries=$((tries + 1))
        sleep 0.05
    done
    echo "lab $engine: cannot remove these cgroups: $dirs" >&2
}

teardown() {
    trap '' TERM INT HUP
    trap - EXIT
    # The polite way first, so that the runtime under test sees its deletes.
    [ -z "$inside" ] || engine_clear
    [ ! -s "$tmp/namespace" ] || kill_strays "$(cat "$tmp/namespace")"
    remove_cgroups
    # Unmounted here only so that removing cannot reach through a mount.
    umount -R -l "$root" 2>/dev/null || true
    umount -l "$tmp/layer" 2>/dev/null || true
    rm -rf --one-file-system "$tmp"
}

keeper() { # TMP NAME BIN ETC CONFIG
    tmp=$1 name=$2 bin=$3 etc=$4 config=$5
    root=$tmp/root
    inside='' containerd_pid=''
    trap 'rc=$?; teardown; exit $rc' EXIT
    trap 'exit 143' TERM INT HUP
    # stdout is for the one line; bash would leave it open in every child.
    exec 8>&1 1>&2
    make_root
    make_inside 8>&-
    engine_start 8>&-
    engine_images >"$tmp/images.log" 2>&1 8>&- ||
        fail "images cannot be imported" "$tmp/images.log"
    echo "ready pid=$inside root=/ name=$name" >&8
    exec 8>&-
    # Nothing is ever written to it: this ends when lab_main does.
    read -r _ || true
}

# ---- the script itself: waits for its end, and tells the keeper by dying ----

lab_main() { # ENGINE ARG...
    engine=$1
    shift
    if [ "${1-}" = --keeper ]; then
        shift
        keeper "$@"
        exit 0
    fi
    local bin='' etc='' config='' cgroup=v1 tmp name keeper cat rc
    while [ $# -gt 0 ]; do
        [ $# -ge 2 ] || die "$1 wants a value"
        case $1 in
        --bin) bin=$(readlink -f "$2") ;;
        --etc) etc=$(readlink -f "$2") ;;
        --config) config=$(readlink -f "$2") ;;
        --cgroup) cgroup=$2 ;;
        *) die "unknown option $1" ;;
        esac
        shift 2
    done
    if [ ! -d "$bin" ] || [ ! -d "$etc" ]; then
        die "usage: ${self##*/} --bin DIR --etc DIR [--config FILE] [--cgroup v1|v2]"
    fi
    [ -z "$config" ] || [ -f "$config" ] || die "no file $config"
    "$here/setup.sh"

    tmp=$(mktemp -d "${TMPDIR:-/tmp}/gpulease-lab.XXXXXXXX")
    name=${tmp##*/}
    mkfifo "$tmp/life"
    # setsid: a signal for the whole process group of the script, SIGKILL too, must
    # not reach the one that cleans up. The fifo is opened for both ways first,
    # because opening either end alone waits for the other.
    exec 9<>"$tmp/life"
    setsid "$here/cgroup.sh" "$cgroup" "$self" --keeper \
        "$tmp" "$name" "$bin" "$etc" "$config" <"$tmp/life" 9>&- &
    keeper=$!
    exec 7>"$tmp/life" 9>&-
    # cat, and not "read", so that the end of the keeper can be waited for as well.
    setpriv --pdeathsig KILL cat <&0 >/dev/null 7>&- &
    cat=$!
    # Without this, cat inherits SIGINT ignored; it is ended below in any case.
    trap 'exec 7>&-' TERM INT HUP
    wait -n "$keeper" "$cat" 2>/dev/null || true
    trap '' TERM INT HUP
    exec 7>&-
    kill "$cat" 2>/dev/null || true
    rc=0
    wait "$keeper" || rc=$?
    # The keeper ends by removing its directory. Should it have been killed, the
    # daemons are gone with it, but no shim and no container.
    if [ -d "$tmp" ]; then
        [ ! -s "$tmp/namespace" ] || kill_strays "$(cat "$tmp/namespace")"
        remove_cgroups
        rm -rf --one-file-system "$tmp"
    fi
    exit "$rc"
}
