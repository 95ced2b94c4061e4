#!/bin/bash
# Leases simulated GPUs to real containers, step by step, and checks each step.
#
#   demo.sh BIN_DIR     BIN_DIR has gpulease, gpulease-runtime and gpulease-hook
#
# The GPUs are simulated; runc, crun, the containers, the leases and the kernel's
# device rules are real. The demo writes only into one temporary directory, and the
# host's mounts stay as they are. Exit status 0 means that every expectation held.
# If dockerd 24 or later is installed, the demo starts, uses and ends a private one
# (docker.sh); it fails if this does not start. If Podman 5 or later is installed, the
# demo uses it with separate storage (podman.sh).
#   GPULEASE_DEMO_DOCKER=no   leaves Docker out
#   GPULEASE_DEMO_PODMAN=no   leaves Podman out
# If the host has a GPU, the demo also leases it for a moment (real.sh).
# shellcheck disable=SC2016  # commands are printed before they are expanded
set -euo pipefail

self=$(readlink -f "$0")
lab=$(dirname "$self")/../../tests/lab
PATH=$PATH:/usr/sbin:/sbin

die() { printf 'demo: %s\n' "$*" >&2; exit 1; }

# Goes on inside a private mount namespace with the one version of cgroups that this host
# can offer.
enter() {
    local version order=(v1 v2)
    [ ! -e /sys/fs/cgroup/cgroup.controllers ] || order=(v2 v1)
    for version in "${order[@]}"; do
        if "$lab/cgroup.sh" "$version" true 2>/dev/null; then
            exec "$lab/cgroup.sh" "$version" "$self" --inside "cgroup $version" "$1"
        fi
    done
    exec unshare --mount --propagation private "$self" --inside "cgroups as they are" "$1"
}

usage() { die "usage: demo.sh BIN_DIR"; }
if [ "${1-}" = --inside ]; then
    [ $# = 3 ] || usage
    cgroups=$2 bin=$3
else
    [ $# = 1 ] || usage
    bin=$(readlink -f "$1")
    [ "$(id -u)" = 0 ] || die "the demo needs root, for it makes containers (README.md: how with sudo)"
    for program in gpulease gpulease-runtime gpulease-hook; do
        [ -x "$bin/$program" ] || die "there is no $program in $1 (make build makes it)"
    done
    for program in runc jq unshare; do
        command -v $program >/dev/null || die "$program is missing (tests/lab/setup.sh --bare installs it)"
    done
    enter "$bin"
fi

# ---- functions for the steps ----

bold='' green='' red='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then
    bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
fi

step=preparing steps=0 checks=0
D=$(mktemp -d /tmp/gpulease-demo.XXXXXX)
chmod 0755 "$D"
cgroup_parent=/${D##*/}
containers=()

clean_up() {
    local status=$? name pid try
    set +e
    trap '' INT TERM HUP
    docker_stop
    podman_stop
    # The demo's containers are in its cgroup, even if their runtime failed.
    for name in "${containers[@]}"; do
        pid=$(cat "$D/$name.pid" 2>/dev/null) && grep -qs "$cgroup_parent" "/proc/$pid/cgroup" &&
            kill -KILL "$pid" 2>/dev/null
        gpulease-runtime delete --force "$name" >/dev/null 2>&1
    done
    for ((try = 0; try < 100; try++)); do
        cgroups_of_ours | grep -q . || break
        [ "$try" = 0 ] || sleep 0.05
        # Killed processes leave their cgroups when they are reaped.
        cgroups_of_ours | while read -r name; do
            while read -r pid; do
                # 0 stands for a process that this PID namespace cannot see.
                [ "$pid" = 0 ] || kill -KILL "$pid"
            done <"$name/cgroup.procs"
            rmdir "$name"
        done 2>/dev/null
    done
    cd /
    rm -rf --one-file-system "$D"
    [ $status = 0 ] ||
        printf '\n%sThe demo failed in step %s: %s%s\n' "$red" "$steps" "$step" "$plain" >&2
}

cgroups_of_ours() {
    find /sys/fs/cgroup -depth -type d -path "*$cgroup_parent*" 2>/dev/null
}

# shellcheck source=packaging/demo/engine.sh
. "$(dirname "$self")/engine.sh"
# shellcheck source=packaging/demo/docker.sh
. "$(dirname "$self")/docker.sh"
# shellcheck source=packaging/demo/real.sh
. "$(dirname "$self")/real.sh"
# shellcheck source=packaging/demo/podman.sh
. "$(dirname "$self")/podman.sh"
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

heading() {
    step=$1 steps=$((steps + 1))
    printf '\n%s%s. %s%s\n' "$bold" "$steps" "$step" "$plain"
}

say() { printf '%s\n' "$@"; }

# Runs a command on a terminal of 80 columns, to which tables are fitted. The output has colours if
# the demo's own has.
on_terminal() {
    command -v script >/dev/null || { eval "$1" 2>&1 </dev/null; return; }
    [ -n "$plain" ] || local -x NO_COLOR=1
    TERM=${TERM:-xterm} script -qec "stty columns 80; $1" /dev/null </dev/null | tr -d '\r'
}

# Prints a command, runs it and prints its output with long lines broken. Sets $status and $out.
out=
status=0
run() {
    printf '\n%s$ %s%s\n' "$bold" "$1" "$plain"
    out=$(mktemp "$D/.out.XXXXXX")
    status=0
    if [[ $1 = 'gpulease '* && $1 != *[\|\>]* ]]; then
        on_terminal "$1" >"$out" || status=$?
    else
        # Into a file: a container that goes on would keep a pipe open.
        eval "$1" >"$out" 2>&1 </dev/null || status=$?
    fi
    # Lines that are only a little too long, as in a listing, are not broken.
    awk 'length <= 90 { print; next }
        { fflush(); print | fold; close(fold) }' fold='fold -s -w 80 | sed "s/ $//"' "$out"
}

# As run, for a command that must succeed.
show() {
    run "$1"
    [ $status = 0 ] || die "the command ended with status $status"
}

# expect WHAT COMMAND...: WHAT holds if the command succeeds.
expect() {
    local what=$1
    shift
    if "$@" >/dev/null 2>&1; then
        checks=$((checks + 1))
        printf '  %sok%s  %s\n' "$green" "$plain" "$what"
    else
        printf '  %sNO%s  %s\n' "$red" "$plain" "$what"
        exit 1
    fi
}

same() { [ "$1" = "$2" ]; }
said() { grep -qF -- "$1" "$out"; }
said_not() { ! grep -qF -- "$1" "$out"; }
failed() { [ "$status" != 0 ]; }

# lease CONTAINER FILTER: a field of its lease; "none" if it has no lease.
lease() {
    gpulease leases --json | jq -r --arg container "$1" \
        "[.leases[] | select(.container_id == \$container)][0] | if . then $2 else \"none\" end"
}
gpus_of() { lease "$1" '([.devices[].index] | join(","))'; }
# Counts the records on disk.
leases() { find "$D/run/leases" -name '*.json' | wc -l; }
free() { grep -cE '(L40S|MI300X).* 1000m' "$out" || true; }

until_true() { # COMMAND...: at most 5 s
    local try
    for ((try = 0; try < 250; try++)); do
        ! "$@" >/dev/null 2>&1 || return 0
        sleep 0.02
    done
    return 1
}

# bundle NAME ANNOTATIONS [COMMAND]: makes a bundle, as an engine gives it to a runtime.
bundle() {
    local command=${3-'exec sleep 600'}
    containers+=("$1")
    if [ ! -e "$D/rootfs" ]; then
        "$lab/bundle.sh" "$D/.first"
        mv "$D/.first/rootfs" "$D/rootfs"
    fi
    mkdir "$D/$1"
    jq --arg name "$1" --arg cgroup "$cgroup_parent/$1" --arg root "$D/rootfs" \
        --arg command "$command" --argjson annotations "$2" \
        '.root.path = $root | .hostname = $name | .linux.cgroupsPath = $cgroup
            | .process.args = ["sh", "-c", $command] | .annotations += $annotations' \
        "$D/.first/config.json" >"$D/$1/config.json"
}

# ---- the demo ----

# Low-level runtimes and engines keep their state in /run. A tmpfs hides the host's /run and the
# sockets of its engines.
unset XDG_RUNTIME_DIR
mount -t tmpfs -o mode=0755 gpulease-demo /run || die 'cannot mount a tmpfs at /run'

export PATH=$bin:$PATH GPULEASE_CONFIG=$D/config.toml
cd "$D"
runc=$(command -v runc)
crun=$(command -v crun || true)
cat >config.toml <<TOML
# A host has this in /etc/gpulease/config.toml.
runtime = "$runc"
run_dir = "$D/run"
devices_file = "$D/devices.toml"

[policy]
# By default a container that ended can take its GPU back for 10 s. Not here.
release_grace = "0"
TOML

say "${bold}gpulease: GPUs for containers, by lease$plain" '' \
    'SIMULATED: the GPUs of these steps do not exist. The containers are real: runc' \
    "makes them, on $cgroups, and the kernel enforces their device rules." '' \
    "All files are in $D, which is removed at the end."

heading 'The node: 2 NVIDIA and 2 AMD GPUs, simulated'
show 'gpulease inventory example mixed4 >devices.toml'
show 'cat config.toml'
show 'gpulease inventory refresh'
expect 'the inventory has four devices' same "$(jq '.node.devices | length' run/inventory.json)" 4
show 'gpulease devices'
expect 'four whole devices are free' same "$(free)" 4
expect 'each is marked as simulated' same "$(grep -cE '(L40S|MI300X).*simulated' "$out")" 4

heading 'A whole GPU'
say 'The request is an annotation of the container. An engine such as Docker would' \
    'write it into config.json and call the runtime; here it is called by hand.'
bundle train '{"gpulease/count": "1", "gpulease/vendor": "nvidia"}' \
    'ls -l /dev | grep ^c; echo; env; exec sleep 600'
show 'jq .annotations train/config.json'
show 'gpulease-runtime run --bundle train --pid-file train.pid train \
    >train.log 2>&1 &'
train=$!
disown "$train" # else the shell would report its end in a later step
until_true grep -q '^HOME=' train.log || true
say '' 'The output of the container (`ls -l /dev | grep ^c; env`):'
show 'cat train.log'
expect 'the container sees its GPU' said ' nvidia0'
expect 'it sees no other GPU' said_not ' nvidia1'
expect 'its environment names the GPU by UUID' \
    said "NVIDIA_VISIBLE_DEVICES=$(lease train '.devices[0].uuid')"
show 'gpulease leases'
expect 'the lease is bound to the container, not to a daemon' \
    same "$(lease train '"\(.state) \(.owner.pid)"')" "bound $(cat train.pid)"

say '' 'The kernel is the barrier, not the missing node. A process in the container can' \
    'make a node for the other GPU (1219:1), but cannot open it. It may open its own' \
    'node, but a simulated number has no driver.'
run "gpulease-runtime exec train sh -c 'mknod /dev/other c 1219 1; : </dev/other'"
expect 'another GPU: refused by the kernel' said 'Operation not permitted'
run "gpulease-runtime exec train sh -c ': </dev/nvidia0'"
expect 'the own GPU: allowed (but there is no driver)' said 'No such device'

heading 'Two containers share one GPU, by the annotations of a Pod'
pod='{
    "kaiwo.ai/gpu-fraction": "0.5",
    "kaiwo.ai/gpu-memory": "4000",
    "kaiwo.ai/gpu-sharing": "true",
    "kaiwo.ai/gpu-isolation": "mps"
}'
bundle infer-a "$pod"
bundle infer-b "$pod"
show 'jq .annotations infer-a/config.json'
show 'gpulease-runtime run --detach --bundle infer-a --pid-file infer-a.pid infer-a'
by_crun=
if [ -n "$crun" ]; then
    sed "s|^runtime = .*|runtime = \"$crun\"|" config.toml >crun.toml
    say '' 'crun runs the second container instead of runc. The leases are the same.'
    run 'GPULEASE_CONFIG=$PWD/crun.toml gpulease-runtime run --detach \
    --bundle infer-b --pid-file infer-b.pid infer-b'
    if [ $status = 0 ]; then
        by_crun=yes
    else
        say '' 'crun does not work on this host (its message is above); runc is used instead.'
        # An engine does the same after a failed start.
        GPULEASE_CONFIG=$D/crun.toml gpulease-runtime delete --force infer-b >/dev/null 2>&1 || true
        expect 'the failed start holds no lease' same "$(lease infer-b .id)" none
    fi
fi
[ -n "$by_crun" ] ||
    show 'gpulease-runtime run --detach --bundle infer-b --pid-file infer-b.pid infer-b'
show 'gpulease leases'
expect 'both hold 500/1000 and 4000 MiB' same \
    "$(lease infer-a '.devices[0] | "\(.milli) \(.memory_bytes / 1048576)"'
    )/$(lease infer-b '.devices[0] | "\(.milli) \(.memory_bytes / 1048576)"')" '500 4000/500 4000'
expect 'both are on the same GPU' same "$(gpus_of infer-a)" "$(gpus_of infer-b)"
expect 'it is not the GPU of the first container' \
    test "$(gpus_of infer-a)" != "$(gpus_of train)"
show "gpulease leases --json |
    jq '.leases[] | select(.container_id == \"infer-a\").isolation'"
way=time-slicing
for dir in /usr/bin /bin /usr/local/bin /opt/bin; do
    [ ! -f "$dir/nvidia-cuda-mps-control" ] || way=mps
done
expect "isolation: \`mps\` is requested, and \`$way\` is effective, as this host offers it" same \
    "$(jq -r '"\(.requested) \(.effective) \(.compute_enforcement)"' "$out")" "mps $way advisory"
if [ "$way" = mps ]; then
    say '' 'A daemon of NVIDIA'\''s MPS serves both and limits each. Limits that the workload' \
        'can undo are called advisory in the lease.'
else
    say '' 'This host has no MPS, so the driver lets the two take turns. Only the ledger keeps' \
        'their halves apart. The lease says so, and names the missing part.'
fi

heading 'Two AMD GPUs, and the node is full'
bundle pair '{"gpulease/count": "2", "gpulease/vendor": "amd"}'
show 'jq .annotations pair/config.json'
show 'gpulease-runtime run --detach --bundle pair --pid-file pair.pid pair'
show 'gpulease-runtime exec pair ls -l /dev/kfd /dev/dri'
expect 'two render nodes and /dev/kfd' same \
    "$(grep -c renderD "$out") $(grep -c kfd "$out")" '2 1'
show 'gpulease-runtime exec pair env'
expect 'AMD counts from 0 inside the container' said 'HIP_VISIBLE_DEVICES=0,1'
show 'gpulease leases'
expect 'four leases' same "$(leases)" 4

heading 'One too many is refused, with a reason for each GPU'
bundle late '{"gpulease/count": "1"}'
run 'gpulease explain count=1'
expect '`explain` refuses, with status 3' same "$status" 3
before=$(sha256sum <late/config.json)
run 'gpulease-runtime run --detach --bundle late --pid-file late.pid late'
expect 'the start failed' failed
expect 'the message has a stable code: no-capacity' said 'gpulease: no-capacity:'
for gpus in 'GPU 0' 'GPU 1' 'GPU 2-3'; do
    expect "it gives a reason for $gpus" said "$gpus ("
done
for name in train infer-a infer-b pair; do
    expect "it names \`$name\` as a holder" said "of container $name ("
done
expect 'it leaves no lease' same "$(leases) $(lease late .id)" '4 none'
expect 'it does not change config.json' same "$(sha256sum <late/config.json)" "$before"
bundle typo '{"gpulease/cuont": "1"}'
run 'gpulease-runtime run --detach --bundle typo --pid-file typo.pid typo'
expect 'a misspelled key is refused too' said 'gpulease: bad-request:'

heading 'A container and its runtime are killed at once'
say 'Both get SIGKILL: no delete and no hook can release the lease.'
show 'kill -KILL '"$train"' $(cat train.pid)'
until_true test ! -e "/proc/$(cat train.pid)/exe" || true
show 'gpulease leases'
expect 'the record is still there' same "$(lease train .state)" bound
expect 'the lease says that its holder is dead' same "$(lease train .holder)" dead
say '' 'The next container gets the GPU: its start finds that the holder is dead.'
show 'gpulease-runtime run --detach --bundle late --pid-file late.pid late'
show 'gpulease leases'
expect 'the refused container runs now, on GPU 0' same "$(gpus_of late)" 0
expect 'the dead lease is gone' same "$(lease train .id)" none
say '' "A late delete of the dead container must not affect its successor."
show 'gpulease-runtime delete --force train'
expect 'the successor keeps its lease' same "$(gpus_of late)" 0

heading 'Everything is given back'
for name in infer-a infer-b pair late; do
    show "gpulease-runtime delete --force $name"
done
show 'gpulease leases'
expect 'no lease is left' same "$(leases)" 0
show 'gpulease devices'
expect 'four whole devices are free' same "$(free)" 4

! real_usable || real_steps
! docker_usable || docker_steps
! podman_usable || podman_steps

printf '\n%sAll %s checks held.%s\n' "$green" "$checks" "$plain"
