# shellcheck shell=bash disable=SC2034,SC2154
# Boots a whole machine under qemu and follows the test in it. Read by run.sh and
# dmem.sh, which set $name for messages.

# The most seconds without news from the guest. A boot takes half a minute, or two
# minutes on a busy host.
limit=300
# Memory for the guest, MiB.
memory=1536

say() { echo "$name: $*" >&2; }
die() { say "$*"; exit 1; }

qemu='' tail='' work='' why=''

# A process that is gone cannot be killed, which is no failure.
end() { # PID
    [ -z "$1" ] || kill -KILL "$1" 2>/dev/null || true
}

leave() {
    end "$qemu"
    end "$tail"
    # After a failure the logs stay.
    [ -z "$work" ] || [ -e "$work/failed" ] || rm -rf --one-file-system "$work"
}

# Both tests begin with this: they need root, a host of the right kind, and the programs.
begin() { # BIN
    local program
    [ "$(uname -m)" = x86_64 ] ||
        die "CANNOT RUN: the machine is made for x86_64, and this host is $(uname -m)"
    [ "$(id -u)" = 0 ] || die "CANNOT RUN: only root can make the machine's image"
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

# Makes the test's own disk, for each run, from the files in $work/disk.
make_tests_disk() {
    truncate -s "$(($(du -sm "$work/disk" | cut -f1) + 32))M" "$work/tests.img"
    mkfs.ext4 -q -F -d "$work/disk" "$work/tests.img"
}

# Boots an image's disk, with $work/tests.img as the second one. The image stays as it is.
boot() { # DISK KERNEL [INITRD [OPTION...]]
    local options='console=ttyS0 loglevel=4 systemd.show_status=error mitigations=off panic=-1'
    : >"$work/results"
    # snapshot=on: writes go to a file that ends with qemu. They survive a reboot of
    #   the guest, because qemu goes on.
    # mitigations=off: an emulated processor needs none.
    # setpriv: the guest ends with this script, even if the script is killed.
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

# Waits until the machine is off. If it did not end well, $why says why.
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
    # It still reads the last lines.
    wait "$tail" || true
    tail=''
    [ "$status" = 0 ] || { why="qemu ended with status $status"; return 1; }
}

# The guest says first how many checks there are, then each in order, then `end`.
# Otherwise this fails, and $why says why.
judge() {
    local plan made bad
    plan=$(sed -n '1s/^1\.\.\([1-9][0-9]*\)$/\1/p' "$work/results")
    [ -n "$plan" ] || { why='the guest did not begin its test'; return 1; }
    bad=$(grep -c '^not ok ' "$work/results") || true
    [ "$bad" = 0 ] || { why="$bad of $plan checks are not ok"; return 1; }
    made=$(sed -n 's/^ok \([0-9]*\) .*/\1/p' "$work/results")
    [ "$made" = "$(seq "$plan")" ] ||
        { why="it made only these of $plan checks: $(echo "$made" | tr '\n' ' ')"; return 1; }
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

# Follows the test in the machine to its end, and says how it ended.
follow() {
    wait_for_end || fail
    judge || fail
    say "$(sed -n '1s/^1\.\.//p' "$work/results") checks are ok, after $SECONDS s"
}
