# shellcheck shell=bash disable=SC2154
# The test after the reboot; read by guest.sh, which has the variables.

part "after the reboot"
check "this is another boot" not cmp /proc/sys/kernel/random/boot_id "$state/boot_id"
always=$(id_of docker always) back=$(id_of podman back)
check "Docker's comes back" within 60 is bound state_of "$always"
check "with its device" has_only "$(init_of docker always)" 0 1
check "Podman's comes back" within 60 is bound state_of "$back"
check "with its device" has_only "$(init_of podman back)" 2 1
# A quadlet's container is made anew each time.
check "the quadlet comes back" within 60 systemctl is-active quadlet
check "with its device" has_only "$(init_of podman quadlet)" 3 1
check "the leases are theirs alone" are 3 holders
check "and of this boot" is "$(cat /proc/sys/kernel/random/boot_id)" boots_of_leases
check "no record of another is left" are 3 ls /run/gpulease/leases
check "the device of the one that does not come back is free" is_free 1
check "it gets it when it is started" docker start once
check "and opens it" has_only "$(init_of docker once)" 1 0
systemctl daemon-reload
check "after daemon-reload Docker's opens its device" has_only "$(init_of docker always)" 0 1
check "and Podman's does" has_only "$(init_of podman back)" 2 1
check "doctor finds nothing" finds_nothing
check "health is well" gpulease health

part "all is taken back"
check "the quadlet is stopped" systemctl stop quadlet
remove docker always once
remove podman back
check "with all removed there is no lease" are 0 holders
default_of_docker() { docker info --format '{{.DefaultRuntime}}'; }
check "gpulease becomes Docker's default runtime" \
    gpulease install docker --default-runtime --reload
check "which Docker knows" is gpulease default_of_docker
check "which starts what names no runtime" docker run --rm --network none "$image" true
check "Docker is unwired, and it is said that it must be restarted" \
    says 'until it is restarted' gpulease uninstall docker --reload
check "its file is as before, to the byte" cmp /etc/docker/daemon.json "$state/daemon.json"
# Should this fail one day, the note is not needed any more.
check "it does use gpulease until then" is gpulease default_of_docker
check "it is restarted" systemctl restart docker
check "and does not any more" is runc default_of_docker
check "nor does it know the runtime" refused 'unknown or invalid runtime' \
    start leased_docker rival 0
check "Podman is unwired" gpulease uninstall podman
check "and does not know the runtime" refused 'not found' start leased_podman rival 0
