# shellcheck shell=bash disable=SC2154
# The test after the reboot; read by guest.sh, which has the variables. At its end no
# engine knows gpulease.

part "after the reboot"
check "this is another boot" not cmp /proc/sys/kernel/random/boot_id "$state/boot_id"
always=$(id_of docker always) back=$(id_of podman back)
check "Docker's container comes back" within 60 is bound state_of "$always"
check "it has its device" has_only "$(init_of docker always)" 0 1
check "Podman's container comes back" within 60 is bound state_of "$back"
check "it has its device" has_only "$(init_of podman back)" 2 1
# systemd makes a quadlet's container anew at each start.
check "the quadlet comes back" within 60 systemctl is-active quadlet
check "it has its device" has_only "$(init_of podman quadlet)" 3 1
check "there are three leases" are 3 holders
check "they are of this boot" is "$(cat /proc/sys/kernel/random/boot_id)" boots_of_leases
check "there are three records" are 3 ls /run/gpulease/leases
check "the device of the fourth container is free" is_free 1
check "that container starts" docker start once
check "it has its device" has_only "$(init_of docker once)" 1 0
systemctl daemon-reload
check "after daemon-reload Docker's container opens its device" \
    has_only "$(init_of docker always)" 0 1
check "Podman's container opens its device too" has_only "$(init_of podman back)" 2 1
check "doctor finds nothing" finds_nothing
check "health is well" gpulease health

part "gpulease is uninstalled"
check "the quadlet stops" systemctl stop quadlet
remove docker always once
remove podman back
check "without containers there is no lease" are 0 holders
check "gpulease is uninstalled for Docker" gpulease uninstall docker --reload
check "Docker's file is as before, to the byte" cmp /etc/docker/daemon.json "$state/daemon.json"
check "Docker restarts" systemctl restart docker
check "gpulease is uninstalled for Podman" gpulease uninstall podman
