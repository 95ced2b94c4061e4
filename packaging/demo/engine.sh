# shellcheck shell=bash disable=SC2016,SC2154
# The steps that demo.sh shows with any container engine; read by it, not run. docker.sh and
# podman.sh start an engine and remove all of it.

# The major version in the output of PROGRAM --version; 0 if there is no program or no version.
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

# Engines load AppArmor profiles into the kernel, where these would stay. They do not if AppArmor
# is hidden, and the demo's containers need no profile.
hide_apparmor() {
    [ ! -d /sys/kernel/security/apparmor ] ||
        mount -t tmpfs gpulease-demo /sys/kernel/security || die 'cannot hide AppArmor'
}

# engine_steps ENGINE CLI RUN STATUS MESSAGE REMOVE: RUN begins the command that starts a container
# with gpulease. A refused start ends with STATUS and with a line that matches MESSAGE. REMOVE
# begins the command that removes containers at once.
engine_steps() {
    local engine=$1 cli=$2 start=$3 refused=$4 message=$5 remove=$6 name gpu id
    local run="$start --detach --network none"

    heading "$engine: a whole GPU"
    show "$run --name train \\
    --annotation gpulease/count=1 --annotation gpulease/vendor=nvidia \\
    busybox sh -c 'ls -l /dev | grep ^c; echo; env; exec sleep 600'"
    until_true eval "$cli logs train | grep -q ^HOME=" || true
    show "$cli logs train"
    expect 'the container sees its GPU' said ' nvidia0'
    expect 'it sees no other GPU' said_not ' nvidia1'
    expect 'its environment names the GPU by UUID' \
        said "NVIDIA_VISIBLE_DEVICES=$(lease_of train '.devices[0].uuid')"
    show "$cli exec train env"
    expect 'a process that is executed in it has the same environment' \
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
    expect 'both are on the same GPU' same "$(lease_of infer-b '.devices[0].index')" "$gpu"
    expect 'it is not the GPU of the first container' \
        test "$(lease_of train '.devices[0].index')" != "$gpu"
    run "$run --name late \\
    --annotation gpulease/count=1 --annotation gpulease/vendor=nvidia \\
    busybox sleep 600"
    expect "the start failed with $engine's status: $refused" same "$status" "$refused"
    expect "$engine passes the reason on, in one line, with its code" grep -q "$message" "$out"
    for name in train infer-a infer-b; do
        id=$(id_of "$name")
        expect "it names \`$name\`, ${id:0:12}, as a holder" \
            said "of container ${id:0:12}"
    done
    expect 'it leaves no lease' same "$(leases) $(lease_of late .id)" '3 none'

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
# Podman warns about each simulated device, because the host does not have it.
id_of() { $cli inspect --format '{{.Id}}' "$1" 2>/dev/null; }
