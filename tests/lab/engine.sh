# shellcheck shell=bash
# The common part of docker.sh, podman.sh, containerd.sh and cri.sh: a lab that shares
# only a cached root (setup.sh), and leaves nothing behind, however it ends. Sourced by
# a script that then calls "lab_main ENGINE ARG..." and defines
#
#   engine_root    more of the root, before it is entered
#   engine_start   starts the daemons, if any, and waits for their answer
#   engine_images  imports the images
#   engine_clear   removes all containers, through the engine, and ends the
#                  daemons
#
# These functions can use $root, $tmp, $name (of the lab and of its cgroup), $config
# and the functions below. docker.sh describes the lab that all of them give.
set -eu

here=$(dirname "$(readlink -f "$0")")
self=$(readlink -f "$0")
suite=${GPULEASE_LAB_SUITE:-trixie}
cache=${GPULEASE_LAB_CACHE:-/var/cache/gpulease-lab}

die() { echo "lab $engine: $*" >&2; exit 1; }

# ---- the keeper: it is outside of the lab's mount namespace and owns the lab ----

in_root() { nsenter --mount --net --target "$inside" "$@"; }

make_root() {
    mkdir "$tmp/layer" "$root"
    # All labs share the root. An overlay keeps the writes of each lab apart. Its upper
    # layer is on tmpfs, because some hosts' /tmp cannot be one.
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

# The lab has its own /dev, because tests make nodes there. It has the usual nodes of the
# host, with fixed owner, group and mode.
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

# Makes the lab's mount namespace, a network for its daemons (a dockerd with
# --bridge=none deletes the docker0 that it finds), and a process that keeps both. Leaves
# its process id in $inside. A chroot is not enough: `docker exec` starts its process at
# the root of the mount namespace, which would be the host's.
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

# Starts a daemon that dies with this process, even if this process is killed. Leaves its
# process id in $!. The daemon does not inherit stdout, which would keep a reader waiting,
# nor the pipe that shows the script's end. Its environment is as small as a service's,
# because the runtime inherits it.
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
        # The lab is removed; its logs are kept.
        mkdir -p "$cache/failed"
        cat "$tmp"/*.log >"$cache/failed/$name.log"
        echo "lab $engine: all logs are in $cache/failed/$name.log"
    } >&2
    teardown
    exit 1
}

# An overlay cannot lie on an overlay, so an engine's container storage must be outside
# of the lab root.
data_dir() { # HOST-DIR DIR
    mkdir -p "$1" "$root$2"
    mount --bind "$1" "$root$2"
}

# Without the CRI plugin, which these labs do not need.
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

remove_tasks() { # NAMESPACE: all containers that run there, through containerd
    local id ids
    ids=$(timeout 10 nsenter --mount --target "$inside" ctr -n "$1" tasks ls -q 2>/dev/null || true)
    for id in $ids; do
        timeout 10 nsenter --mount --target "$inside" ctr -n "$1" tasks rm -f "$id" >/dev/null 2>&1 || true
    done
}

# How to import $tmp/image.tar, the image of all labs.
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

# Kills the processes in the lab's mount namespace: shims that outlived containerd,
# hanging runtimes, commands that a caller left there. The namespace tells them from
# another lab's processes; names would not.
kill_strays() { # NAMESPACE
    local proc pid
    for proc in /proc/[0-9]*; do
        pid=${proc#/proc/}
        [ "$pid" != $$ ] || continue
        [ "$(readlink "$proc/ns/mnt" 2>/dev/null || true)" = "$1" ] || continue
        kill -KILL "$pid" 2>/dev/null || true
    done
}

# Kills the processes of containers, which have mount namespaces of their own, and removes
# this lab's cgroup from every hierarchy.
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
    # Through the engine first, so that the runtime under test is called to delete.
    [ -z "$inside" ] || engine_clear
    [ ! -s "$tmp/namespace" ] || kill_strays "$(cat "$tmp/namespace")"
    remove_cgroups
    # Unmounted so that the removal cannot reach through a mount.
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
    # stdout is for the one line only. bash would leave it open in every child.
    exec 8>&1 1>&2
    make_root
    make_inside 8>&-
    engine_start 8>&-
    engine_images >"$tmp/images.log" 2>&1 8>&- ||
        fail "images cannot be imported" "$tmp/images.log"
    echo "ready pid=$inside root=/ name=$name" >&8
    exec 8>&-
    # Nothing is written to it: `read` ends when lab_main ends.
    read -r _ || true
}

# ---- the script itself: it waits for its end, and the keeper sees that end ----

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
    # setsid: a signal for the script's whole process group, even SIGKILL, must not reach
    # the keeper, which cleans up. The fifo is first opened for reading and writing,
    # because the opening of one end waits for the other.
    exec 9<>"$tmp/life"
    setsid "$here/cgroup.sh" "$cgroup" "$self" --keeper \
        "$tmp" "$name" "$bin" "$etc" "$config" <"$tmp/life" 9>&- &
    keeper=$!
    exec 7>"$tmp/life" 9>&-
    # cat, not "read": then `wait` can also wait for the keeper's end.
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
    # The keeper removes its directory last. If it was killed, its daemons died with it,
    # but shims and containers did not.
    if [ -d "$tmp" ]; then
        [ ! -s "$tmp/namespace" ] || kill_strays "$(cat "$tmp/namespace")"
        remove_cgroups
        rm -rf --one-file-system "$tmp"
    fi
    exit "$rc"
}
