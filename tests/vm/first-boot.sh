# shellcheck shell=bash disable=SC2154
# The test from the first boot until the reboot; read by guest.sh, which has the
# variables.

part "the node is set up as README.md says"
install -m 0755 /tests/bin/gpulease /tests/bin/gpulease-runtime /tests/bin/gpulease-hook \
    /usr/local/bin/
install -d -m 0755 /etc/gpulease
make_devices
cp /etc/docker/daemon.json "$state/daemon.json"

check "the machine has systemd, and cgroup v2 alone" \
    test -d /run/systemd/system -a -e /sys/fs/cgroup/cgroup.controllers
check "the inventory is made" gpulease inventory refresh
check "Docker is wired, and told" gpulease install docker --reload
check "Podman is wired" gpulease install podman
docker_facts='{{.CgroupDriver}} {{.CgroupVersion}} {{(index .Runtimes "gpulease").Path}}'
check "Docker's cgroup driver is systemd, on v2, and it knows the runtime" \
    is 'systemd 2 /usr/local/bin/gpulease-runtime' docker info --format "$docker_facts"
check "Podman's cgroup manager is systemd, on v2" \
    is 'systemd v2' podman info --format '{{.Host.CgroupManager}} {{.Host.CgroupsVersion}}'
check "doctor finds nothing" finds_nothing
check "health is well" gpulease health
for engine in docker podman; do
    check "$engine has the image" $engine import --change 'ENV PATH=/bin' \
        --change 'CMD ["/bin/container.sh"]' /tests/busybox.tar "$image"
done

part "one container by each engine and low-level runtime"
check "Docker starts one over runc" start leased_docker web 0
check "Podman starts one over runc" start leased_podman pod 1
use_runtime crun
check "Podman starts one over crun" start leased_podman crun 2
web=$(id_of docker web) pod=$(id_of podman pod) crun=$(id_of podman crun)
web_pid=$(init_of docker web) pod_pid=$(init_of podman pod) crun_pid=$(init_of podman crun)
web_scope=/system.slice/docker-$web.scope
pod_scope=/machine.slice/libpod-$pod.scope
crun_scope=/machine.slice/libpod-$crun.scope

all_have_their_own() {
    has_only "$web_pid" 0 3 && has_only "$pod_pid" 1 3 && has_only "$crun_pid" 2 3
}
# crun puts the processes one below.
all_are_bound() {
    is_bound "$web" "$web_pid" 0 "$web_scope" && is_bound "$pod" "$pod_pid" 1 "$pod_scope" &&
        is_bound "$crun" "$crun_pid" 2 "$crun_scope/container"
}
check "each opens its device, and no other's" all_have_their_own
check "exec has the device of Docker's" exec_has_only docker web 0
# By runc, though crun is configured since.
check "exec has the device of Podman's over runc" exec_has_only leased_podman pod 1
check "exec has the device of Podman's over crun" exec_has_only leased_podman crun 2
check "the control node opens too" is '' docker exec web sh -c "exec 3<>/dev/${node}ctl"
check "their leases are bound to their processes and scopes" all_are_bound
check "what is leased is refused to another" refused no-capacity start leased_docker rival 1

part "daemon-reload and set-property"
check "systemd itself holds the device rule of Docker's" has_rule "$web_scope" 10:229
check "and of Podman's over runc" has_rule "$pod_scope" 10:237
check "and of Podman's over crun" has_rule "$crun_scope" 10:203
for _ in 1 2 3; do systemctl daemon-reload; done
check "after three daemon-reloads each opens its device, and no other's" all_have_their_own
# By this systemd writes the rules of the scope anew.
for scope in "$web_scope" "$pod_scope" "$crun_scope"; do
    check "a property of ${scope:0:28}... is set" \
        systemctl set-property --runtime "${scope##*/}" CPUWeight=50 DevicePolicy=strict
done
systemctl daemon-reload
check "after set-property each opens its device, and no other's" all_have_their_own
check "docker update is done" docker update --cpu-shares 512 web
check "after it each opens its device, and no other's" all_have_their_own
systemctl daemon-reexec
check "after daemon-reexec each opens its device, and no other's" all_have_their_own
check "their leases are as before" all_are_bound
check "exec has the device of Docker's still" exec_has_only docker web 0

part "ends"
check "docker restart" docker restart web
web_pid=$(init_of docker web)
check "gives the device back" has_only "$web_pid" 0 3
check "by crun, as is configured since" is_bound "$web" "$web_pid" 0 "$web_scope/container"
kill -KILL "$web_pid"
check "the next gets the device of one that was killed" start leased_docker next 0
check "and opens it" has_only "$(init_of docker next)" 0 3
# Nobody tells Podman, and nobody tells gpulease.
kill -KILL "$(podman inspect --format '{{.State.ConmonPid}}' pod)"
kill -KILL "$pod_pid"
check "the lease of one that was killed together with its conmon is dead" \
    within 10 is dead holder_of "$pod"
check "the next gets its device" start leased_podman after 1
check "and opens it" has_only "$(init_of podman after)" 1 3
# Its init is one process among others, which outlive it.
check "Podman starts one without a PID namespace of its own" \
    start leased_podman shared 3 --pid host
shared=$(id_of podman shared) shared_pid=$(init_of podman shared)
child=$(pgrep --parent "$shared_pid")
kill -KILL "$(podman inspect --format '{{.State.ConmonPid}}' shared)"
kill -KILL "$shared_pid"
check "its init is gone" within 10 not test -e "/proc/$shared_pid"
check "but its lease lives on with the rest of its cgroup" is alive holder_of "$shared"
check "and its device is refused to another" refused no-capacity start leased_podman rival 3
kill -KILL "$child"
check "until that is gone too" within 10 is dead holder_of "$shared"
check "the Docker service is restarted" systemctl restart docker
check "which ends its containers and their leases" is_free 0
# Docker keeps what it could not start.
remove docker web next rival
remove podman pod crun after shared rival
check "with all removed there is no lease" are 0 holders

part "Podman in units of systemd"
check "a transient unit with a container starts" systemd-run --unit=job --collect \
    podman --runtime gpulease run --rm --name job --network none --cap-add MKNOD \
    --annotation gpulease/devices=0 "$image"
check "and runs it" within 30 is running podman inspect --format '{{.State.Status}}' job
check "it opens its device, and no other's" has_only "$(init_of podman job)" 0 3
check "the unit is stopped" systemctl stop job
check "which frees the device" within 10 is_free 0
write_quadlet
check "systemd makes a unit of the quadlet" systemctl daemon-reload
check "the quadlet starts" systemctl start quadlet
quadlet_pid=$(init_of podman quadlet)
check "it opens its device, and no other's" has_only "$quadlet_pid" 3 0
# Quadlet has Podman split the cgroup of the unit, without scopes of its own.
check "its lease is bound within the unit" is_bound "$(id_of podman quadlet)" "$quadlet_pid" 3 \
    "/system.slice/quadlet.service/$(basename "$(cgroup_of "$quadlet_pid")")"
systemctl daemon-reload
check "after daemon-reload it opens its device, and no other's" has_only "$quadlet_pid" 3 0
check "it is stopped" systemctl stop quadlet
check "which frees the device" is_free 3

part "leases are held across the reboot"
check "the quadlet starts again" systemctl start quadlet
check "Docker starts one that is to come back" start leased_docker always 0 --restart always
check "and one that is not" start leased_docker once 1
check "Podman starts one that is to come back" start leased_podman back 2 --restart always
check "all four devices are leased" are 4 holders
