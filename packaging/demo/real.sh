# shellcheck shell=bash disable=SC2016,SC2154
# The part of demo.sh that needs a GPU of the host; read by it, not run. demo.sh has the variables.
#
# It leases the GPU for a moment, in the demo's own directory, and does not compute on it. It does
# not use a GPU on which a process computes (`busy = "avoid"`, the default).
#   GPULEASE_DEMO_REAL=no            leaves this part out
#   GPULEASE_DEMO_DEVICES_FILE=FILE  a devices file, used in addition to discovery

# Succeeds if the host has a GPU with its driver; otherwise says in one line why not.
real_usable() {
    local why
    {
        printf 'runtime = "%s"\nrun_dir = "%s"\n' "$runc" "$D/host"
        printf 'devices_file = "%s"\n' "${GPULEASE_DEMO_DEVICES_FILE-$D/no-devices.toml}"
        printf '[policy]\nrelease_grace = "0"\n'
    } >real.toml
    if [ "${GPULEASE_DEMO_REAL-}" = no ]; then
        why='GPULEASE_DEMO_REAL=no'
    elif ! GPULEASE_CONFIG=$D/real.toml gpulease inventory refresh >real.log 2>&1; then
        cat real.log
        die 'the inventory of this host could not be made'
    elif [ "$(jq '.node.devices | length' host/inventory.json)" = 0 ]; then
        why='this host has no GPU, or no driver for it'
    else
        return 0
    fi
    leave_out 'A real GPU' "$why"
}

real_steps() {
    heading 'A real GPU of this host'
    local GPULEASE_CONFIG=$D/real.toml own
    export GPULEASE_CONFIG
    show 'gpulease inventory refresh'
    show 'gpulease devices'
    expect 'none of these is simulated' said_not simulated
    bundle real '{"gpulease/count": "1"}' 'cd /dev && ls -d nvidia[0-9]* kfd dri/* 2>/dev/null; exec sleep 600'
    run 'gpulease-runtime run --bundle real --pid-file real.pid real >real.log 2>&1 & sleep 2; cat real.log'
    if said 'gpulease: '; then
        say '' 'No GPU is free for the demo: the refusal above has the reason.'
        return
    fi
    show 'gpulease leases'
    own=$(lease real '(.devices[0].nodes[0])')
    expect 'the container has the node of its GPU' said_in real.log "${own#/dev/}"
    expect 'it has the node of no other GPU' same \
        "$(grep -cE '^(nvidia[0-9]+|dri/renderD[0-9]+)$' real.log)" 1
    show 'gpulease-runtime delete --force real'
    expect 'the GPU is free again' same "$(find "$D/host/leases" -name '*.json' | wc -l)" 0
}

said_in() { grep -qxF -- "$2" "$1"; }
