# shellcheck shell=bash disable=SC2154
# The test from the first boot until the reboot; read by guest.sh, which has the
# variables.

part "Docker and Podman use gpulease"
cp /etc/docker/daemon.json "$state/daemon.json"
check "gpulease is installed for Docker" gpulease install docker --reload
check "gpulease is installed for Podman" gpulease install podman
docker_facts='{{.CgroupDriver}} {{.CgroupVersion}} {{(index .Runtimes "gpulease").Path}}'
check "Docker's cgroup driver is systemd, on v2, and it knows the runtime" \
    is 'systemd 2 /usr/local/bin/gpulease-runtime' docker info --format "$docker_facts"
check "Podman's cgroup manager is systemd, on v2" \
    is 'systemd v2' podman info --format '{{.Host.CgroupManager}} {{.Host.CgroupsVersion}}'
check "doctor finds nothing" finds_nothing
check "health is well" gpulease health

part "one container by each engine and low-level runtime"
check "Docker starts a container over runc" start leased_docker web 0
check "Podman starts a container over runc" start leased_podman pod 1
use_runtime crun
check "Podman starts a container over crun" start leased_podman crun 2
web=$(id_of docker web) pod=$(id_of podman pod) crun=$(id_of podman crun)
web_pid=$(init_of docker web) pod_pid=$(init_of podman pod) crun_pid=$(init_of podman crun)
web_scope=/system.slice/docker-$web.scope
pod_scope=/machine.slice/libpod-$pod.scope
crun_scope=/machine.slice/libpod-$crun.scope

all_have_their_own() {
    has_only "$web_pid" 0 3 && has_only "$pod_pid" 1 3 && has_only "$crun_pid" 2 3
}
# crun puts the processes in a cgroup below the scope.
all_are_bound() {
    is_bound "$web" "$web_pid" 0 "$web_scope" && is_bound "$pod" "$pod_pid" 1 "$pod_scope" &&
        is_bound "$crun" "$crun_pid" 2 "$crun_scope/container"
}
check "each container opens its device, and no other" all_have_their_own
check "a process executed in Docker's container has its device" exec_has_only docker web 0
# Over runc, although crun is configured since.
check "so does one in Podman's container over runc" exec_has_only leased_podman pod 1
check "so does one in Podman's container over crun" exec_has_only leased_podman crun 2
check "a container opens the control node too" is '' docker exec web sh -c "exec 3<>/dev/${node}ctl"
check "their leases are bound to their processes and scopes" all_are_bound
check "a leased device is refused to another container" \
    refused no-capacity start leased_docker rival 1

part "daemon-reload and set-property"
check "systemd has the device rule of Docker's container" has_rule "$web_scope" 10:229
check "systemd has that of Podman's container over runc" has_rule "$pod_scope" 10:237
check "systemd has that of Podman's container over crun" has_rule "$crun_scope" 10:203
for _ in 1 2 3; do systemctl daemon-reload; done
check "after three daemon-reloads each opens its device, and no other" all_have_their_own
# Then systemd writes the rules of the scope anew.
for scope in "$web_scope" "$pod_scope" "$crun_scope"; do
    check "a property of ${scope:0:28}... is set" \
        systemctl set-property --runtime "${scope##*/}" CPUWeight=50 DevicePolicy=strict
done
systemctl daemon-reload
check "after set-property each opens its device, and no other" all_have_their_own
check "docker update succeeds" docker update --cpu-shares 512 web
check "after docker update each opens its device, and no other" all_have_their_own
systemctl daemon-reexec
check "after daemon-reexec each opens its device, and no other" all_have_their_own
check "their leases are as before" all_are_bound
check "a process executed in Docker's container still has its device" exec_has_only docker web 0

part "ends of containers"
check "docker restart succeeds" docker restart web
web_pid=$(init_of docker web)
check "the restarted container has its device again" has_only "$web_pid" 0 3
check "it runs over crun, which is configured since" \
    is_bound "$web" "$web_pid" 0 "$web_scope/container"
kill -KILL "$web_pid"
check "the next container gets the device of a killed one" start leased_docker next 0
check "it opens the device" has_only "$(init_of docker next)" 0 3
# Neither Podman nor gpulease is told.
kill -KILL "$(podman inspect --format '{{.State.ConmonPid}}' pod)"
kill -KILL "$pod_pid"
check "the lease of a container killed with its conmon is dead" \
    within 10 is dead holder_of "$pod"
check "the next container gets its device" start leased_podman after 1
check "it opens that device" has_only "$(init_of podman after)" 1 3
# The other processes of such a container outlive its init.
check "Podman starts a container in the host's PID namespace" \
    start leased_podman shared 3 --pid host
shared=$(id_of podman shared) shared_pid=$(init_of podman shared)
child=$(pgrep --parent "$shared_pid")
kill -KILL "$(podman inspect --format '{{.State.ConmonPid}}' shared)"
kill -KILL "$shared_pid"
check "its init is killed" within 10 not test -e "/proc/$shared_pid"
check "its lease lives on with the other process of its cgroup" is alive holder_of "$shared"
check "its device is refused to another container" refused no-capacity start leased_podman rival 3
kill -KILL "$child"
check "without that process the lease is dead" within 10 is dead holder_of "$shared"
check "the Docker service is restarted" systemctl restart docker
check "the restart ends its containers and their leases" is_free 0
# Docker keeps a container that it could not start.
remove docker web next rival
remove podman pod crun after shared rival
check "without containers there is no lease" are 0 holders

part "Podman in units of systemd"
check "a transient unit with a container starts" systemd-run --unit=job --collect \
    podman --runtime gpulease run --rm --name job --network none --cap-add MKNOD \
    --annotation gpulease/devices=0 "$image"
check "the container runs" within 30 is running podman inspect --format '{{.State.Status}}' job
check "it opens its device, and no other" has_only "$(init_of podman job)" 0 3
check "the unit stops" systemctl stop job
check "the device is free then" within 10 is_free 0
write_quadlet
check "systemd makes a unit of the quadlet" systemctl daemon-reload
check "the quadlet starts" systemctl start quadlet
quadlet_pid=$(init_of podman quadlet)
check "its container opens its device, and no other" has_only "$quadlet_pid" 3 0
# With a quadlet, Podman splits the unit's cgroup and makes no scope.
check "its lease is bound within the unit" is_bound "$(id_of podman quadlet)" "$quadlet_pid" 3 \
    "/system.slice/quadlet.service/$(basename "$(cgroup_of "$quadlet_pid")")"
systemctl daemon-reload
check "after daemon-reload it opens its device, and no other" has_only "$quadlet_pid" 3 0
check "the quadlet stops" systemctl stop quadlet
check "its device is free then" is_free 3

part "leases are held at the reboot"
check "the quadlet starts again" systemctl start quadlet
check "Docker starts a container that must come back" start leased_docker always 0 --restart always
check "Docker starts a container that must not come back" start leased_docker once 1
check "Podman starts a container that must come back" start leased_podman back 2 --restart always
check "all four devices are leased" are 4 holders
