# shellcheck shell=bash disable=SC2034,SC2154
# How a whole machine is booted under qemu, and how the test in it is followed.
# Read by run.sh and dmem.sh, not run. Who reads it has set $name, for messages.

# Seconds without news from the guest: a boot takes half a minute, or two on a
# machine that has other work to do.
limit=300
# Memory for the guest, MiB.
memory=1536

say() { echo "$name: $*" >&2; }
die() { say "$*"; exit 1; }

qemu='' tail='' work='' why=''

# What is gone cannot be killed, and that is as well.
end() { # PID
    [ -z "$1" ] || kill -KILL "$1" 2>/dev/null || true
}

leave() {
    end "$qemu"
    end "$tail"
    # Logs of a failure stay.
    [ -z "$work" ] || [ -e "$work/failed" ] || rm -rf --one-file-system "$work"
}

# What both tests begin with: root, on a machine that it can be run on, and the programs.
begin() { # BIN
    local program
    [ "$(uname -m)" = x86_64 ] ||
        die "CANNOT RUN: the machine is made for x86_64, this is $(uname -m)"
    [ "$(id -u)" = 0 ] || die "CANNOT RUN: not root, who makes the machine's image"
    for program in gpulease gpulease-runtime gpulease-hook; do
        [ -x "$1/$program" ] || die "no $1/$program: run \`make build\`"
    done
    PATH=$PATH:/usr/sbin:/sbin
    export PATH
    work=$(mktemp -d "${TMPDIR:-/var/tmp}/gpulease-vm.XXXXXX")
    trap leave EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# The disk of the test itself, made for each run of what is in $work/disk.
make_tests_disk() {
    truncate -s "$(($(du -sm "$work/disk" | cut -f1) + 32))M" "$work/tests.img"
    mkfs.ext4 -q -F -d "$work/disk" "$work/tests.img"
}

# Boots the disk of an image, which is not written to, with $work/tests.img beside it.
boot() { # DISK KERNEL [INITRD [OPTION...]]
    local options='console=ttyS0 loglevel=4 systemd.show_status=error mitigations=off panic=-1'
    : >"$work/results"
    # snapshot=on: writes go to a file that is gone with qemu, and survive a reboot
    #   of the guest, for which qemu goes on.
    # mitigations=off: against processors that are not there.
    # The guest ends with this script, even if that is killed outright.
    TMPDIR=$work setpriv --pdeathsig KILL qemu-system-x86_64 \
        -accel tcg,thread=multi -smp 2 -m "$memory" \
        -nodefaults -no-user-config -display none -nic none \
        -drive "file=$1,format=raw,if=virtio,snapshot=on,cache=unsafe" \
        -drive "file=$work/tests.img,format=raw,if=virtio,readonly=on" \
        -device virtio-rng-pci \
        -serial "file:$work/console" -serial "file:$work/results" \
        -serial "file:$work/journal" \
        -kernel "$2" ${3:+-initrd "$3"} \
        -append "root=/dev/vda rw $options ${*:4}" \
        </dev/null >"$work/qemu" 2>&1 &
    qemu=$!
    tail -n +1 -f -s 0.5 --pid="$qemu" "$work/results" &
    tail=$!
}

# Waits until the machine is off; if it did not end well, $why says so.
wait_for_end() {
    local status=0 size=0 last=$SECONDS
    while kill -0 "$qemu" 2>/dev/null; do
        if [ "$(stat --format %s "$work/results")" != "$size" ]; then
            size=$(stat --format %s "$work/results")
            last=$SECONDS
        fi
        [ $((SECONDS - last)) -lt "$limit" ] || { why="no news for $limit s"; return 1; }
        sleep 0.5
    done
    wait "$qemu" || status=$?
    qemu=''
    # It reads what was written last.
    wait "$tail" || true
    tail=''
    [ "$status" = 0 ] || { why="qemu ended with status $status"; return 1; }
}

# The guest says first how many checks there are, then each in order, then `end`.
# If it is otherwise, $why says how.
judge() {
    local plan made bad
    plan=$(sed -n '1s/^1\.\.\([1-9][0-9]*\)$/\1/p' "$work/results")
    [ -n "$plan" ] || { why='the guest did not begin its test'; return 1; }
    bad=$(grep -c '^not ok ' "$work/results") || true
    [ "$bad" = 0 ] || { why="$bad of $plan checks"; return 1; }
    made=$(sed -n 's/^ok \([0-9]*\) .*/\1/p' "$work/results")
    [ "$made" = "$(seq "$plan")" ] ||
        { why="of $plan checks it made these: $(echo "$made" | tr '\n' ' ')"; return 1; }
    [ "$(tail -n 1 "$work/results")" = end ] ||
        { why='the guest did not come to its end'; return 1; }
}

fail() {
    local log
    : >"$work/failed"
    say "FAILED: $why"
    cat "$work/qemu" >&2
    for log in journal console; do
        say "the end of $work/$log:"
        tail -n 40 "$work/$log" 2>/dev/null | tr -d '\r' >&2
    done
    exit 1
}

# Follows the test in the machine to its end, and says how it was.
follow() {
    wait_for_end || fail
    judge || fail
    say "all is well, after $SECONDS s"
}
