#!/bin/bash
# Runs a command where cgroups are purely v1 or purely v2, even if the host mounts
# both. There real runc and crun run and enforce device rules.
#
#   cgroup.sh v1|v2 CMD [ARG...]
#
# The command gets its own mount namespace. So the host's mounts stay as they are,
# and several of these can run at the same time.
#
# v1: CMD replaces this process. The v1 hierarchies are the host's, so the ids of
#     containers must be unique on the host.
# v2: CMD also gets its own cgroup namespace, whose root is a cgroup made for it.
#     CMD itself is in /run below that. When CMD ends, the processes and cgroups
#     that are left there are removed. Exit status and signals pass through.
#
# Exits 78 with one line on stderr if the host cannot offer that version.
set -eu

self=$(readlink -f "$0")
mnt=/sys/fs/cgroup
prefix=gpulease-lab

die() { echo "lab cgroup: $*" >&2; exit 1; }
cannot() { echo "lab cgroup: no cgroup $1 here: $2" >&2; exit 78; }

# Prints the mounts of this type under $mnt, innermost last. Needs a private mount namespace.
mounts() { # FSTYPE
    awk -v t="$1" -v m="$mnt" '{
        for (i = 7; i <= NF && $i != "-"; i++);
        if ($(i + 1) == t && ($5 == m || index($5, m "/") == 1)) print $5
    }' /proc/self/mountinfo
}

enter() { # VERSION STAGE CMD...: go on in a private mount namespace
    unshare --mount --propagation private true 2>/dev/null ||
        cannot "$1" "this process may not make a mount namespace"
    exec unshare --mount --propagation private "$self" "--$2" "${@:3}"
}

v1_inner() {
    local tmp dir at link
    mounts cgroup | grep -qx "$mnt/[^ ]*devices[^ ]*" ||
        cannot v1 "the v1 devices controller is not mounted under $mnt"
    # A new directory, because crun refuses a "hybrid" host. And where $mnt/unified
    # exists, crun writes below it even on v1: without the v2 mount, these files
    # would stay on the host, hidden below its mount.
    tmp=$(mktemp -d) && mount -t tmpfs -o mode=755 lab "$tmp"
    for dir in $(mounts cgroup); do
        at=$tmp${dir#"$mnt"}
        mkdir -p "$at"
        mount --bind "$dir" "$at"
    done
    # Controllers that share a hierarchy have links to it.
    for link in "$mnt"/*; do
        [ ! -L "$link" ] || cp -a "$link" "$tmp/"
    done
    umount -R "$mnt" 2>/dev/null || umount -R -l "$mnt" ||
        cannot v1 "$mnt cannot be unmounted"
    mount --move "$tmp" "$mnt"
    rmdir "$tmp"
    exec "$@"
}

v2_mount() {
    umount -R "$mnt" 2>/dev/null || umount -R -l "$mnt" 2>/dev/null || true
    mount -t cgroup2 none "$mnt" 2>/dev/null
}

# Kills and removes a cgroup with all that is below it.
v2_remove() { # CGROUP
    local tries=0
    # cgroup.kill misses no process that forks, but is young (Linux 5.14).
    echo 1 2>/dev/null >"$1/cgroup.kill" || v2_kill "$1"
    while [ -d "$1" ]; do
        find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
        [ -d "$1" ] || return 0
        # A killed process leaves its cgroup only when it is reaped.
        tries=$((tries + 1))
        [ $tries -lt 200 ] || { echo "lab cgroup: cannot remove $1" >&2; return 0; }
        sleep 0.02
    done
}

v2_kill() { # CGROUP
    local pid
    find "$1" -name cgroup.procs -exec cat {} + 2>/dev/null | while read -r pid; do
        # 0 stands for a process that this PID namespace cannot see.
        [ "$pid" = 0 ] || kill -KILL "$pid" 2>/dev/null || true
    done
}

# Removes cgroups of earlier runs that were killed. A cgroup's name has the process id
# of its run; if that id is in use again, a later sweep removes the cgroup.
v2_sweep() {
    local dir pid
    for dir in "$mnt/$prefix".*; do
        pid=${dir##*.}
        [ ! -d "$dir" ] || [ -e "/proc/$pid" ] || v2_remove "$dir"
    done
}

v2_outer() {
    local lab child rc again
    v2_mount || cannot v2 "cgroup2 cannot be mounted"
    lab=$mnt/$prefix.$$
    v2_sweep
    mkdir "$lab" 2>/dev/null || cannot v2 "no cgroup can be made"
    mkdir "$lab/run"

    # A shell takes stdin away from a background process and makes it ignore SIGINT and
    # SIGQUIT: undo both. If this process is killed, CMD is killed too.
    setpriv --pdeathsig KILL env --default-signal=INT,QUIT \
        "$self" --v2-member "$lab" "$@" <&0 &
    child=$!
    again=
    for signal in TERM INT HUP QUIT USR1 USR2; do
        # shellcheck disable=SC2064  # to be expanded now
        trap "again=1; kill -s $signal $child 2>/dev/null || true" "$signal"
    done
    # A trap ends "wait" early. The status of CMD itself is wanted.
    while :; do
        rc=0
        wait "$child" || rc=$?
        [ -n "$again" ] || break
        again=
    done
    v2_remove "$lab"
    exit "$rc"
}

v2_member() { # LAB CMD...
    # The cgroup that a process is in when it makes a cgroup namespace becomes
    # the root of that namespace.
    echo 0 >"$1/cgroup.procs"
    exec unshare --cgroup --mount --propagation private "$self" --v2-inner "${@:2}"
}

v2_inner() {
    local controller controllers=()
    v2_mount || cannot v2 "cgroup2 cannot be mounted in a cgroup namespace"
    # Only leaves may hold processes. Otherwise containers could get no controllers.
    echo 0 >"$mnt/run/cgroup.procs"
    # Device rules need no controller. Enable those that the host gives to the
    # children of its root; on a hybrid host mostly none. The lab's own cgroup must be
    # empty first: a cgroup that enables controllers takes no process.
    read -r -a controllers <"$mnt/cgroup.controllers" || true
    for controller in "${controllers[@]}"; do
        echo "+$controller" 2>/dev/null >"$mnt/cgroup.subtree_control" || true
    done
    exec "$@"
}

case ${1-} in
--v1-inner) v1_inner "${@:2}" ;;
--v2-outer) v2_outer "${@:2}" ;;
--v2-member) v2_member "${@:2}" ;;
--v2-inner) v2_inner "${@:2}" ;;
v1 | v2) ;;
*) die "usage: cgroup.sh v1|v2 CMD [ARG...]" ;;
esac
[ $# -ge 2 ] || die "usage: cgroup.sh v1|v2 CMD [ARG...]"
[ "$(id -u)" = 0 ] || cannot "$1" "not root"
case $1 in
v1)
    # Another mount of v1 would take controllers away from the host's v2.
    grep -q ' - cgroup ' /proc/self/mountinfo || cannot v1 "the host mounts none"
    enter v1 v1-inner "${@:2}"
    ;;
v2)
    grep -qw cgroup2 /proc/filesystems || cannot v2 "the kernel has none"
    enter v2 v2-outer "${@:2}"
    ;;
esac
