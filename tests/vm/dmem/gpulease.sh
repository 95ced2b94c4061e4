# shellcheck shell=bash disable=SC2154
# Shares whose memory the kernel limits, with gpulease's real programs; read by guest.sh, which has
# the functions.

part "gpulease says which limits the kernel enforces"
install -m 0755 /tests/bin/gpulease /tests/bin/gpulease-runtime /tests/bin/gpulease-hook \
    /usr/local/bin/
mkdir -p /etc/gpulease
# An AMD GPU. Its node is that of a driver that needs no hardware.
device() { # N PCI NODE
    cat <<TOML
[[device]]
uuid = "GPU-000000000000000$1"
vendor = "amd"
model = "Test $1"
memory_mib = $((size >> 20))
pci = "$2"
arch = "gfx90a"
compute_units = 104
xccs = 1
shader_engines = 8
nodes = ["$3"]
TOML
}
{
    device 0 0000:0c:00.0 /dev/vram-test
    device 1 0000:0d:00.0 /dev/fuse
    # The kernel has no region for this one.
    device 2 0000:0e:00.0 /dev/hwrng
} >/etc/gpulease/devices.toml
use_low_level() { # PROGRAM
    echo "runtime = \"$1\"" >/etc/gpulease/config.toml
}
use_low_level /usr/sbin/runc
# would_be WANT WORD...: how the memory limit of such a share would be enforced.
would_be() {
    local got
    got=$(gpulease explain --json "${@:2}" | jq -r .grant.isolation.memory_enforcement) || return
    [ "$got" = "$1" ] || { echo "it would be: $got"; return 1; }
}
check "the inventory is made" gpulease inventory refresh
check "the kernel enforces a share's memory" would_be kernel devices=0 memory=2Gi
check "explain says so in words" says 'enforced by the kernel' gpulease explain memory=2Gi
check "enforcement of memory can be required" would_be kernel memory=2Gi enforcement=required
check "enforcement of compute cannot be required" refused enforcement-unmet \
    gpulease explain memory=2Gi compute=0.5 enforcement=required
check "enforcement cannot be required without a region" refused "kernel's dmem controller" \
    gpulease explain devices=2 memory=2Gi enforcement=required
check "such memory is advisory" would_be advisory devices=2 memory=2Gi

# ask PATH KEY=VALUE...: makes the bundle in that cgroup, with these annotations, without the node.
ask() {
    configure "$1" ''
    jq 'del(.linux.devices)
        | .linux.resources.devices |= map(select(.allow | not))
        | .annotations = ([$ARGS.positional[] | split("=") | {key: "gpulease/\(.[0])", value: .[1]}]
            | from_entries)' "$bundle/config.json" --args "${@:2}" >"$bundle/config.json.new"
    mv "$bundle/config.json.new" "$bundle/config.json"
}
# The enforcement and the regions in the container's lease.
held() {
    lease c | jq -r '[.isolation.compute_enforcement, .isolation.memory_enforcement,
        .devices[].dmem_region] | join(" ")'
}
no_lease() { is 0 gpulease_leases; }
gpulease_leases() { gpulease leases --json | jq '.leases | length'; }

# try_share RUNTIME...: `$path` is the cgroup in the spec, `$what` the name of the case.
try_share() {
    local its
    disable
    ask "$path" memory=2Gi enforcement=required
    check "$what: a share starts with required enforcement" run "$@"
    check "$what: the lease says so" is "advisory kernel $vram" held
    check "$what: the cgroup has the limit of the lease" limited_to "$vram" $((2 << 30))
    check "$what: no other region is limited" limited_to "$gtt" max
    check "$what: the kernel enforces it" \
        is "$over" charges_inside "$@" -- 0 2000000000 200000000
    # shellcheck disable=SC2016  # for the shell in there
    check "$what: a process executed in it sees the enforcement" is compute=advisory,memory=kernel \
        "$@" exec c sh -c 'echo $GPULEASE_ENFORCEMENT'
    its=$root$(its_cgroup)
    check "$what: the container ends" end_it "$@"
    check "$what: no lease is left" no_lease
    check "$what: no cgroup is left" test ! -e "$its"
}

for low_level in runc crun; do
    part "shares over $low_level"
    use_low_level "$(command -v $low_level)"
    path=/tests/share what="$low_level, cgroupfs"
    try_share gpulease-runtime
    path=system.slice:tests:share what="$low_level, systemd"
    try_share gpulease-runtime --systemd-cgroup

    disable
    ask /tests/two count=2 memory=2Gi enforcement=required
    check "$low_level: shares of two GPUs start" run gpulease-runtime
    check "$low_level: the first has its limit" limited_to "$vram" $((2 << 30))
    check "$low_level: the second has its limit" limited_to "$other" $((2 << 30))
    check "$low_level: the kernel enforces that of the second" \
        is "$over" charges_inside gpulease-runtime -- 2 2000000000 200000000
    end_it gpulease-runtime >"$state/end" 2>&1
    check "$low_level: no lease is left" no_lease
done

part "limits that the kernel cannot enforce"
refuses_to_start() { # WHY
    refused "$1" run gpulease-runtime && no_lease
}
ask /tests/share devices=2 memory=2Gi enforcement=required
check "with required enforcement no container starts" refuses_to_start enforcement-unmet
ask /tests/share devices=2 memory=2Gi
check "with preferred enforcement it starts" run gpulease-runtime
check "its lease says that the limits are advisory" is "advisory advisory " held
end_it gpulease-runtime >"$state/end" 2>&1

part "a limit that is lifted"
faults() { gpulease doctor --json | jq -r '.checks[] | select(.level == "fault") | .code'; }
ask /tests/share memory=2Gi enforcement=required
check "a container starts" run gpulease-runtime
check "doctor finds no fault" is '' faults
check "its limit is lifted" puts "$vram max" "$root$(its_cgroup)/dmem.max"
check "doctor finds the fault" is limit-lost faults
end_it gpulease-runtime >"$state/end" 2>&1
check "no lease is left" no_lease
disable
