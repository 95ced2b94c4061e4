# shellcheck shell=bash disable=SC2154
# Functions for the test inside of the machine: checks, and questions to gpulease, to
# engines and to containers. Read by guest.sh, which has the variables.

state=/var/lib/gpulease-test
# The output of the last command.
said=$state/said
node=nvidia

number() { cat "$state/number" 2>/dev/null || echo 0; }

report() { printf '%s\n' "$*" >&3; }

# A heading, with the seconds since this boot.
part() { report "# $* ($(cut -d. -f1 /proc/uptime) s)"; }

# check WHAT CMD...: reports whether CMD succeeds, and its output if it fails. The
# test goes on after a failure: later failures may tell more.
check() {
    local what=$1 n
    shift
    n=$(($(number) + 1))
    echo "$n" >"$state/number"
    if "$@" >"$said" 2>&1; then
        report "ok $n $what"
    else
        : >"$state/failed"
        report "not ok $n $what"
        report "# \`$*\` said:"
        tail -n 20 "$said" | sed 's/^/#   /' >&3
    fi
}

not() { ! "$@"; }

# is WANT CMD...: CMD prints WANT and nothing else.
is() {
    local want=$1 got
    shift
    got=$("$@") || { echo "it exits with $?"; return 1; }
    [ "$got" = "$want" ] || { echo "it prints: $got; wanted: $want"; return 1; }
}

# are N CMD...: CMD succeeds and prints N lines.
are() {
    local got
    got=$("${@:2}") || { echo "it exits with $?"; return 1; }
    [ "$(printf '%s' "${got:+$got$'\n'}" | wc -l)" = "$1" ] || { echo "it prints: $got"; return 1; }
}

# within SECONDS CMD...: repeats CMD until it succeeds, for that time at most.
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >"$state/try" 2>&1; do
        [ "$SECONDS" -lt "$end" ] || { cat "$state/try"; return 1; }
        sleep 0.3
    done
}

# ---- containers ----

# A container's id. ENGINE is docker, podman or one of guest.sh's functions.
id_of() { # ENGINE CONTAINER
    "$1" inspect --format '{{.Id}}' "$2"
}

init_of() { # ENGINE CONTAINER
    "$1" inspect --format '{{.State.Pid}}' "$2"
}

# The cgroup that a process is in.
cgroup_of() { # PID
    sed -n 's/^0:://p' "/proc/$1/cgroup"
}

# start ENGINE NAME N [OPTION...]: a container with the device N.
start() {
    "$1" run -d --name "$2" --annotation "gpulease/devices=$3" "${@:4}" "$image"
}

# Removes containers, dead or alive.
remove() { # ENGINE CONTAINER...
    "$1" rm -f "${@:2}"
}

# has_only PID N OTHER: the container of this init can open the device N, and not the
# device OTHER: that one has no node in the container, and the device rules refuse a
# node that the container makes itself.
has_only() {
    local tmp=/proc/$1/root/tmp answer
    within 20 test -e "$tmp/ready" || return
    echo "/dev/$node$2 /dev/$node$3 10 ${numbers[$3]}" >"$tmp/ask"
    kill -USR1 "$1" && within 20 test -e "$tmp/answer" || return
    answer=$(cat "$tmp/answer")
    rm "$tmp/answer"
    echo "$answer"
    [[ $answer == $'own: opened\nother: not there\nother: made\n'*': Operation not permitted' ]]
}

# exec_has_only ENGINE CONTAINER N: a process that is executed in the container can open
# the device N, and has it in its environment.
exec_has_only() {
    # shellcheck disable=SC2016  # for the shell in there
    is "opened $(uuid "$3")" "$1" exec "$2" sh -c \
        "exec 3<>/dev/$node$3 && echo opened \$NVIDIA_VISIBLE_DEVICES"
}

# ---- the node ----

# Makes the device nodes and the file that names them. At each boot a driver makes its
# nodes before engines start; here systemd-tmpfiles does.
make_devices() {
    local n rules=/etc/tmpfiles.d/gpus.conf list=/etc/gpulease/devices.toml
    for n in "${!numbers[@]}"; do
        echo "c /dev/$node$n 0666 root root - 10:${numbers[n]}" >>"$rules"
        cat >>"$list" <<TOML
[[device]]
uuid = "$(uuid "$n")"
vendor = "nvidia"
model = "Test $n"
memory_mib = 1024
pci = "0000:0$((n + 1)):00.0"
nodes = ["/dev/$node$n"]
TOML
        # NVIDIA's driver makes no such links. Without them, runc before 1.1.7 and
        # systemd before 240 lost device rules at each daemon-reload.
        rm -f "/dev/char/10:${numbers[n]}"
    done
    echo "c /dev/${node}ctl 0666 root root - 10:$control" >>"$rules"
    printf '[[control]]\nvendor = "nvidia"\nnodes = ["/dev/%s"]\n' "${node}ctl" >>"$list"
    systemd-tmpfiles --create "$rules"
}

use_runtime() { # NAME
    echo "runtime = \"/usr/bin/$1\"" >/etc/gpulease/config.toml
}

write_quadlet() {
    mkdir -p /etc/containers/systemd
    cat >/etc/containers/systemd/quadlet.container <<UNIT
[Container]
ContainerName=quadlet
Image=$image
Annotation=gpulease/devices=3
GlobalArgs=--runtime=gpulease
Network=none
AddCapability=MKNOD

[Install]
WantedBy=multi-user.target
UNIT
}

# ---- gpulease ----

uuid() { # N
    echo "GPU-00000000-0000-4000-8000-00000000000$1"
}

# The lease of a container, by its id, as JSON; nothing if it has none.
lease() { # ID
    gpulease leases --json | jq -c --arg id "$1" '.leases[] | select(.container_id == $id)'
}

# Prints the ids of the containers that hold leases, live or dead.
holders() { gpulease leases --json | jq -r '.leases[].container_id'; }

# is_bound ID PID N CGROUP: the container's lease is bound to that process and cgroup,
# both exist, and the lease is for the device N only.
is_bound() {
    local want
    want=$(jq -nc --argjson pid "$2" --arg uuid "$(uuid "$3")" --arg cgroup "/sys/fs/cgroup$4" \
        '["bound", "alive", $pid, $cgroup, [$uuid]]')
    grep -q 'populated 1' "/sys/fs/cgroup$4/cgroup.events" || { echo "no cgroup $4"; return 1; }
    lease "$1" | jq -e --argjson want "$want" \
        '[.state, .holder, .owner.pid, .cgroup, [.devices[].uuid]] as $got
        | $got == $want or ({$got, $want} | halt_error(1))'
}

state_of() { # ID
    lease "$1" | jq -r .state
}

holder_of() { # ID
    lease "$1" | jq -r .holder
}

# says WHAT CMD...: CMD succeeds, and its output contains WHAT.
says() {
    local text
    text=$("${@:2}" 2>&1) || { echo "it exits with $?: $text"; return 1; }
    echo "$text"
    [[ $text == *"$1"* ]]
}

# refused WHY CMD...: CMD fails, and its output contains WHY.
refused() {
    local text
    ! text=$("${@:2}" 2>&1) || { echo "it succeeds: $text"; return 1; }
    echo "$text"
    [[ $text == *"$1"* ]]
}

# The boots in which the leases were made.
boots_of_leases() { gpulease leases --json | jq -r '[.leases[].owner.boot_id] | unique[]'; }

# has_rule CGROUP NUMBERS: systemd knows the device's rule, and writes it whenever it
# writes the rules of the scope. Rules that systemd does not know would then be lost.
has_rule() {
    local text
    text=$(systemctl show --property DevicePolicy,DeviceAllow "${1##*/}")
    echo "$text"
    [[ $text == *DevicePolicy=strict* ]] && [[ $text == *"$2 rw"* ]]
}

# is_free N: the device N could be leased now.
is_free() {
    gpulease explain "devices=$1"
}

# doctor has neither a fault nor a warning.
finds_nothing() {
    local worse
    gpulease doctor || return
    worse=$(gpulease doctor --json |
        jq -r '.checks[] | select(.level == "warning" or .level == "fault") | .code')
    [ -z "$worse" ] || { echo "$worse"; return 1; }
}
