#!/bin/bash
# The test, as run inside of the machine at each of its boots. What it finds goes
# to the second serial port, where run.sh reads it: first how many checks there
# are, then `ok N WHAT` or `not ok N WHAT` for each, then `end`.
set -u
umask 022
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
# How many checks there are in first-boot.sh and second-boot.sh.
checks=96

# The devices: drivers that need no hardware, by other nodes than theirs. None of
# these numbers is one that engines allow to every container. Minors of major 10,
# by N: fuse, loop-control, cuse, device-mapper; and autofs, for what all get.
# shellcheck disable=SC2034  # used by what is read below
numbers=(229 237 203 236)
# shellcheck disable=SC2034
control=235
# shellcheck disable=SC2034
image=localhost/busybox:test

cd / || exit 1
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /tests/lib.sh
mkdir -p "$state"
stty -F /dev/ttyS1 raw
exec 3>/dev/ttyS1

# Docker's own capabilities have it; with it a container can make a node of what it
# was not given.
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

# Beside the console, where run.sh finds it.
journal_of_failure() {
    [ ! -e "$state/failed" ] ||
        journalctl --boot --no-pager --lines 200 --priority info >/dev/ttyS2 2>&1
}

if [ ! -e "$state/boot_id" ]; then
    cat /proc/sys/kernel/random/boot_id >"$state/boot_id"
    report "1..$checks"
    # shellcheck source-path=SCRIPTDIR source=first-boot.sh
    . /tests/first-boot.sh
    journal_of_failure
    sync
    systemctl reboot
else
    # shellcheck source-path=SCRIPTDIR source=second-boot.sh
    . /tests/second-boot.sh
    journal_of_failure
    report end
    systemctl poweroff
fi
# Until systemd ends this.
exec sleep infinity
