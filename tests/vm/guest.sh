#!/bin/bash
# The test inside of the machine, run at each boot. It reports on the second serial
# port, where run.sh reads: first the number of checks, then `ok N WHAT` or
# `not ok N WHAT` for each, then `end`.
#
# With a file /tests/only-engines it makes the checks of node.sh and engines.sh only,
# in one boot.
set -u
umask 022
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
# The numbers of checks in node.sh and engines.sh, and in first-boot.sh and second-boot.sh.
engines_checks=120
boots_checks=85

# The devices: nodes with other names for drivers that need no hardware. Engines allow
# none of these numbers to every container. They are minors of major 10, by N: fuse,
# loop-control, cuse, device-mapper. The control node, for all containers, is autofs.
# shellcheck disable=SC2034  # used by what is read below
numbers=(229 237 203 236)
# shellcheck disable=SC2034
control=235
# shellcheck disable=SC2034
image=localhost/busybox:test

cd / || exit 1
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /tests/lib.sh
# shellcheck source-path=SCRIPTDIR source=cri.sh
. /tests/cri.sh
mkdir -p "$state"
stty -F /dev/ttyS1 raw
exec 3>/dev/ttyS1

# A container with CAP_MKNOD can make a node of a device that it was not given. Docker
# gives this capability by default.
leased_podman() {
    case $1 in
    run) podman --runtime gpulease run --network none --cap-add MKNOD "${@:2}" ;;
    *) podman --runtime gpulease "$@" ;;
    esac
}
leased_docker() {
    case $1 in
    run) docker run --runtime gpulease --network none "${@:2}" ;;
    *) docker "$@" ;;
    esac
}

# To the third serial port, where run.sh reads it.
journal_of_failure() {
    [ ! -e "$state/failed" ] ||
        journalctl --boot --no-pager --lines 200 --priority info >/dev/ttyS2 2>&1
}

# The last part: ends the machine.
engines() {
    # shellcheck source-path=SCRIPTDIR source=engines.sh
    . /tests/engines.sh
    journal_of_failure
    report end
    systemctl poweroff
}

if [ -e "$state/boot_id" ]; then
    # shellcheck source-path=SCRIPTDIR source=second-boot.sh
    . /tests/second-boot.sh
    engines
else
    cat /proc/sys/kernel/random/boot_id >"$state/boot_id"
    [ ! -e /tests/only-engines ] || boots_checks=0
    report "1..$((boots_checks + engines_checks))"
    # shellcheck source-path=SCRIPTDIR source=node.sh
    . /tests/node.sh
    if [ -e /tests/only-engines ]; then
        engines
    else
        # shellcheck source-path=SCRIPTDIR source=first-boot.sh
        . /tests/first-boot.sh
        journal_of_failure
        sync
        systemctl reboot
    fi
fi
# Until systemd ends this.
exec sleep infinity
