#!/bin/bash
# The test of dmem.sh inside of the machine. It reports as ../guest.sh does.
set -u
umask 022
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
# The number of checks in kernel-facts.sh and gpulease.sh.
checks=97

cd / || exit 1
# shellcheck source-path=SCRIPTDIR source=../lib.sh
. /tests/lib.sh
mkdir -p "$state"
stty -F /dev/ttyS1 raw
exec 3>/dev/ttyS1

root=/sys/fs/cgroup
# A GPU's region as amdgpu names it, another region of this GPU, and a region of another GPU.
vram=drm/0000:0c:00.0/vram
gtt=drm/0000:0c:00.0/gtt
other=drm/0000:0d:00.0/vram0
size=$((16 << 30))

# ---- cgroups ----

# puts TEXT FILE: with one write, as the C library and runtimes do. printf would make one write
# for each line.
puts() {
    printf '%b' "$1" | dd of="$2" bs=64k count=1 iflag=fullblock status=none
}

# The limit of a region in a cgroup, as the kernel shows it.
limit() { # CGROUP REGION
    awk -v region="$2" '$1 == region { print $2 }' "$root$1/dmem.max"
}

in_use() { # CGROUP REGION
    awk -v region="$2" '$1 == region { print $2 }' "$root$1/dmem.current"
}

# Charges BYTES of the Nth region, counted from 0, one after the other, and prints for each
# whether the kernel took it. Gives all charges back at its end.
charges() { # N BYTES...
    local n=$1 bytes
    exec 4>/dev/vram-test
    for bytes in "${@:2}"; do
        echo "$n $bytes" >&4 && echo taken
    done 2>&1 | sed 's/.*: //'
    exec 4>&-
}

# inside CGROUP CMD...: runs CMD in a process of that cgroup.
inside() {
    (
        # shellcheck disable=SC3028
        echo "$BASHPID" >"$root$1/cgroup.procs"
        "${@:2}"
    )
}

over=$'taken\nResource temporarily unavailable'

# ---- containers ----

bundle=/root/bundle

# configure CGROUP LIMITS: makes the bundle with that cgroupsPath, with the module's node, and
# with LIMITS, if not empty, as the dmem.max of linux.resources.unified.
configure() {
    local major minor
    major=$((16#$(stat -c %t /dev/vram-test))) minor=$((16#$(stat -c %T /dev/vram-test)))
    jq --arg path "$1" --arg max "$2" --argjson major "$major" --argjson minor "$minor" '
        .process.terminal = false | .process.args = ["sleep", "600"] | del(.process.rlimits)
        | .linux.cgroupsPath = $path
        | .linux.devices = [{path: "/dev/vram-test", type: "c", $major, $minor, fileMode: 438}]
        | .linux.resources.devices += [{allow: true, type: "c", $major, $minor, access: "rw"}]
        | if $max == "" then . else .linux.resources.unified["dmem.max"] = $max end
    ' /root/spec.json >"$bundle/config.json"
}

# run RUNTIME...: runs a container `c` of the bundle in the background, and does not wait for its
# output.
run() {
    "$@" run --detach --bundle "$bundle" --pid-file /root/pid c </dev/null >/root/run.log 2>&1 ||
        { cat /root/run.log; return 1; }
}

# The cgroup of the container's init.
its_cgroup() { cgroup_of "$(cat /root/pid)"; }

end_it() { # RUNTIME...
    "$@" kill c KILL
    within 10 "$@" delete c
}

# As charges, in the container.
charges_inside() { # RUNTIME... -- N BYTES...
    local runtime=() bytes n
    while [ "$1" != -- ]; do
        runtime+=("$1")
        shift
    done
    n=$2
    # shellcheck disable=SC2016  # for the shell in there
    "${runtime[@]}" exec c sh -c 'exec 4>/dev/vram-test; n=$1; shift
        for bytes; do echo "$n $bytes" >&4 && echo taken; done 2>&1 | sed "s/.*: //"' \
        sh "$n" "${@:3}"
}

prepare() {
    insmod /tests/vram.ko "size=$size" "regions=$vram,$gtt,$other"
    mkdir -p "$bundle"
    cp -a /tests/rootfs "$bundle/rootfs"
    (cd /root && runc spec && mv config.json spec.json)
}

report "1..$checks"
prepare >"$state/prepare" 2>&1 || { cat "$state/prepare" >&3; exit 1; }
# shellcheck source-path=SCRIPTDIR source=kernel-facts.sh
. /tests/kernel-facts.sh
# shellcheck source-path=SCRIPTDIR source=gpulease.sh
. /tests/gpulease.sh
[ ! -e "$state/failed" ] ||
    journalctl --boot --no-pager --lines 200 --priority info >/dev/ttyS2 2>&1
report end
systemctl poweroff
# Until systemd ends this.
exec sleep infinity
