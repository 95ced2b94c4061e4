#!/bin/bash
# Makes a minimal OCI bundle. runc and crun can run it as root, on cgroup v1 and v2, even
# without CAP_SYS_RESOURCE.
#
#   bundle.sh DIR            DIR/rootfs and DIR/config.json (args: sleep 60)
#   bundle.sh --rootfs DIR   only a root file system, directly in DIR
set -eu

die() { echo "lab bundle: $*" >&2; exit 1; }

PATH=$PATH:/usr/sbin:/sbin
export PATH

rootfs() {
    local dir=$1 busybox=/bin/busybox applet
    [ -e /var/lib/dpkg/info/busybox-static.list ] ||
        die "busybox-static is not installed (run setup.sh --bare)"
    mkdir -p "$dir/bin" "$dir/dev" "$dir/etc" "$dir/proc" "$dir/root" "$dir/run" "$dir/sys" "$dir/tmp"
    chmod 1777 "$dir/tmp"
    cp "$busybox" "$dir/bin/busybox"
    # "busybox --install" would link to the program's path on this host.
    for applet in $("$busybox" --list); do
        [ "$applet" = busybox ] || ln -sf busybox "$dir/bin/$applet"
    done
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n' >"$dir/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$dir/etc/group"
}

if [ $# = 2 ] && [ "$1" = --rootfs ]; then
    rootfs "$2"
    exit 0
fi
[ $# = 1 ] || die "usage: bundle.sh [--rootfs] DIR"

dir=$1
rootfs "$dir/rootfs"
rm -f "$dir/config.json"
runc spec --bundle "$dir"
# rlimits: raising one needs CAP_SYS_RESOURCE, and crun then fails outright.
# CAP_MKNOD: with it a test can make a node in the container, and see that the
#   device rules decide, not the lack of a node.
# cgroup namespace: runc spec adds one on v2 only. The bundle must be the same on
#   every host.
jq '.process.terminal = false
    | del(.process.rlimits)
    | .process.args = ["sleep", "60"]
    | .process.capabilities |= map_values((. + ["CAP_MKNOD"]) | unique)
    | .linux.namespaces |= map(select(.type != "cgroup"))
    | .hostname = "lab"' "$dir/config.json" >"$dir/config.json.new"
mv "$dir/config.json.new" "$dir/config.json"
