# shellcheck shell=bash disable=SC2016,SC2154
# What demo.sh shows under a container engine, whichever it is; read by it, not run. docker.sh
# and podman.sh tell how one is had, and how nothing of it is left.

# The major version that PROGRAM tells by --version; 0 if it is not there or tells none.
major_of() { # PROGRAM
    local major=''
    ! command -v "$1" >/dev/null ||
        major=$("$1" --version 2>/dev/null | sed -n 's/^\(Docker\|podman\) version \([0-9]\+\)\..*/\2/p') || true
    echo "${major:-0}"
}

leave_out() { # ENGINE WHY: fails
    say '' "$1 is left out: $2."
    return 1
}

# Engines load their profiles into the kernel, where they would stay; without AppArmor in sight
# they do not, and their containers here need none.
hide_apparmor() {
    [ ! -d /sys/kernel/security/apparmor ] ||
        mount -t tmpfs gpulease-demo /sys/kernel/security || die 'cannot hide AppArmor'
}

# engine_steps ENGINE CLI RUN STATUS MESSAGE REMOVE: RUN begins the command that starts a container
# with gpulease; a refused one ends with STATUS and with a line that matches MESSAGE; REMOVE begins
# the command that removes containers at once.
engine_steps() {
    local engine=$1 cli=$2 start=$3 refused=$4 message=$5 remove=$6 name gpu id
    local run="$start --detach --network none"

    heading "$engine: a whole GPU"
    show "$run --name train \\
    --annotation gpulease/count=1 --annotation gpulease/vendor=nvidia \\
    busybox sh -c 'ls -l /dev | grep ^c; echo; env; exec sleep 600'"
    until_true eval "$cli logs train | grep -q ^HOME=" || true
    show "$cli logs train"
    expect 'it sees its GPU' said ' nvidia0'
    expect 'and no other GPU' said_not ' nvidia1'
    expect 'its libraries are told which, by UUID' \
        said "NVIDIA_VISIBLE_DEVICES=$(lease_of train '.devices[0].uuid')"
    show "$cli exec train env"
    expect 'who comes in later is told the same' \
        said "NVIDIA_VISIBLE_DEVICES=$(lease_of train '.devices[0].uuid')"

    heading "$engine: two containers share the other GPU, and one too many"
    for name in infer-a infer-b; do
        show "$run --name $name \\
    --annotation kaiwo.ai/gpu-fraction=0.5 \\
    --annotation kaiwo.ai/gpu-memory=4000 \\
    --annotation kaiwo.ai/gpu-sharing=true \\
    --annotation kaiwo.ai/gpu-isolation=mps busybox sleep 600"
    done
    show 'gpulease leases'
    expect "three leases, each of $engine" \
        same "$(leases) $(gpulease leases --json | jq -c '[.leases[].engine] | unique')" \
        "3 [\"$cli\"]"
    expect 'both hold 500/1000 and 4000 MiB' same \
        "$(lease_of infer-a '.devices[0] | "\(.milli) \(.memory_bytes / 1048576)"'
        )/$(lease_of infer-b '.devices[0] | "\(.milli) \(.memory_bytes / 1048576)"')" \
        '500 4000/500 4000'
    gpu=$(lease_of infer-a '.devices[0].index')
    expect 'of one and the same GPU' same "$(lease_of infer-b '.devices[0].index')" "$gpu"
    expect 'which is not that of the first container' \
        test "$(lease_of train '.devices[0].index')" != "$gpu"
    run "$run --name late \\
    --annotation gpulease/count=1 --annotation gpulease/vendor=nvidia \\
    busybox sleep 600"
    expect "the start failed, with $engine's status for that: $refused" same "$status" "$refused"
    expect "$engine passes the reason on, in one line, with its code" grep -q "$message" "$out"
    for name in train infer-a infer-b; do
        id=$(id_of "$name")
        expect "and with \`$name\`, ${id:0:12}, named as a holder" \
            said "of container ${id:0:12}"
    done
    expect 'it left no lease behind' same "$(leases) $(lease_of late .id)" '3 none'

    heading "$engine: a container is killed, and the next one gets its GPU"
    gpu=$(lease_of train '.devices[0].index')
    show "$cli kill --signal KILL train"
    show "$cli start late"
    show 'gpulease leases'
    expect "the refused container runs now, on GPU $gpu" \
        same "$(lease_of late '.devices[0].index')" "$gpu"
    expect 'the dead one has no lease' same "$(lease_of train .id)" none

    heading "$engine: everything is given back"
    show "$remove train infer-a infer-b late"
    show 'gpulease leases'
    expect 'no lease is left' same "$(leases)" 0
}

# lease_of NAME FIELD: as lease, for a container of the engine.
lease_of() { lease "$(id_of "$1")" "$2"; }
# Podman warns of each simulated device that the host does not have.
id_of() { $cli inspect --format '{{.Id}}' "$1" 2>/dev/null; }
