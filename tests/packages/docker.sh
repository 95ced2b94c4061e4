# shellcheck shell=bash disable=SC2154,SC2016
# (run.sh sets $deb, $rpm and the like; another shell expands text in single quotes)
#
# The deb beside a real dockerd: installed, used, upgraded, removed, purged. Sourced by run.sh.

lab_pid=''
lab_keeper=''

in_lab() {
    nsenter --mount --net --target "$lab_pid" env -i LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"
}

# The lab of the other tests, without its directories for gpulease.
lab_begin() {
    local line
    mkdir -p "$work/empty" "$work/etc"
    mkfifo "$work/life" "$work/ready"
    "$top/tests/lab/docker.sh" --bin "$work/empty" --etc "$work/etc" <"$work/life" >"$work/ready" &
    lab_keeper=$!
    exec 5>"$work/life" 4<"$work/ready"
    read -r line <&4 || die "the lab does not start"
    line=${line#ready pid=}
    lab_pid=${line%% *}
    lab_name=${line##*name=}
    lab=/proc/$lab_pid/root
    in_lab busybox umount /opt/gpulease/bin /etc/gpulease
    in_lab rm -r --one-file-system /opt/gpulease /etc/gpulease
    # With this file dpkg would leave out manual pages and examples.
    rm -f "$lab/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
}

lab_end() {
    [ -n "$lab_keeper" ] || return 0
    exec 5>&- 4<&-
    wait "$lab_keeper" || true
    lab_keeper=''
}

# Lists all files of the root but dpkg's and apt's own. The data of Podman and Docker is elsewhere.
listing() {
    in_lab find / -xdev \( -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/cache \
        -o -path /var/log \) -prune -o \( -type d -printf '%y %m %u:%g %p\n' \) \
        -o -printf '%y %m %u:%g %s %p -> %l\n' | sort
    in_lab find /etc -xdev -type f -exec sha256sum {} + | sort -k2
    in_lab find /run /tmp -xdev -name '*gpulease*' ! -name '*.deb'
}

apt() { # FILE|NAME VERB: prints apt-get's output, with stderr
    in_lab apt-get -y -o Dpkg::Use-Pty=0 "$2" "$1" 2>&1
}

give() { # FILE: copies it into the lab and prints its path there
    cp "$1" "$lab/tmp/${1##*/}"
    echo "/tmp/${1##*/}"
}

state() { in_lab dpkg-query -W -f '${Status} ${Version}' gpulease 2>/dev/null || true; }
hup() { in_lab sh -c 'kill -HUP "$(cat /run/docker.pid)"'; }
knows_runtime() { in_lab docker info --format '{{json .Runtimes}}' | grep -q '"gpulease"'; }
knows_no_runtime() { ! knows_runtime; }
default_is() { [ "$(in_lab docker info --format '{{.DefaultRuntime}}')" = "$1" ]; }
run_as() { in_lab docker run --network none "$@"; }
leases() { in_lab gpulease leases --json | jq -c "$1"; }

docker_life() {
    local before said file lease wired
    lab_begin
    before=$(listing)

    title "apt-get install"
    file=$(give "$deb")
    said=$(apt "$file" install) || die "apt-get install: $said"
    same "it is installed" "install ok installed $version-1" "$(state)"
    has "it names the next step, in one line" "$said" \
        $'\ngpulease: no engine has been changed; for Docker: gpulease install docker --reload'
    same "the lease directory is there" "directory 755 root:root" \
        "$(in_lab stat -c '%F %a %U:%G' /run/gpulease)"
    check "Docker's configuration is not made" in_lab test ! -e /etc/docker/daemon.json
    check "Docker does not know the runtime" knows_no_runtime
    check "the files are as they were packed" in_lab dpkg --verify gpulease
    check "the manual page is there" in_lab test -f /usr/share/man/man1/gpulease.1.gz

    title "README.md, Docker, with the packaged programs"
    check "a node is simulated" in_lab sh -ec 'install -d -m 0755 /etc/gpulease
        gpulease inventory example mixed4 > /etc/gpulease/devices.toml
        gpulease inventory refresh && gpulease devices'
    check "gpulease install docker" in_lab gpulease install docker
    same "the packaged runtime is named" /usr/bin/gpulease-runtime \
        "$(jq -r .runtimes.gpulease.path "$lab/etc/docker/daemon.json")"
    hup
    eventually "Docker knows the runtime" knows_runtime
    check "docker run gets a GPU" run_as -d --name web --runtime gpulease \
        --annotation gpulease/count=1 busybox:lab sleep 1000
    lease=$(leases '.leases[] | [.id, .state, .holder, .devices]')
    has "the container holds it" "$lease" '"bound","alive"'
    has "it sees the device" "$(in_lab docker exec web env)" NVIDIA_VISIBLE_DEVICES=
    said=$(in_lab docker exec web cat /proc/1/environ | tr '\0' '\n')
    has "its first process sees that the device is simulated" "$said" GPULEASE_SIMULATED=true
    said=$(in_lab gpulease doctor --json || true)
    check "doctor checks the node" jq -e '.checks | length >= 8' <<<"$said"
    same "doctor finds no fault, and warns only about simulated devices" "" \
        "$(jq -r '.checks[] | select(.level == "fault" or .level == "warning") | .code + ": " + .message' \
            <<<"$said" | grep -v -e '^simulated: ' || true)"
    jq -r '.checks[] | select(.level != "ok") | "        doctor: " + .level + " " + .code' <<<"$said"

    title "an upgrade while a container runs"
    wired=$(cat "$lab/etc/docker/daemon.json")
    said=$(apt "$(give "$next_deb")" install) || die "apt-get install: $said"
    same "it is upgraded" "install ok installed $version-2" "$(state)"
    same "the lease is the same" "$lease" "$(leases '.leases[] | [.id, .state, .holder, .devices]')"
    same "Docker's configuration is the same" "$wired" "$(cat "$lab/etc/docker/daemon.json")"
    lacks "the upgrade prints no advice" "$said" "gpulease: no engine"
    check "the container goes on" in_lab docker exec web true
    check "another container starts" run_as --rm --runtime gpulease --annotation gpulease/count=1 busybox:lab true

    title "apt-get remove while a container runs is refused"
    refused_with "a lease" web
    run_as -d --name plain --runtime gpulease busybox:lab sleep 1000 >/dev/null
    in_lab docker rm -f web >/dev/null
    same "no lease is left" "" "$(leases '.leases[]')"
    refused_with "no lease, but our runtime" plain
    in_lab docker rm -f plain >/dev/null
    podman_holds
    lease_alone_holds

    title "apt-get remove"
    systemctl_that_signals
    check "gpulease becomes Docker's default" in_lab gpulease install docker --default-runtime --reload
    eventually "Docker uses it" default_is gpulease
    said=$(apt gpulease remove) || not_ok "apt-get remove fails: $said"
    same "it is removed" "deinstall ok config-files $version-2" "$(state)"
    check "the programs are gone" in_lab test ! -e /usr/bin/gpulease-runtime
    check "Docker's configuration is as before" in_lab test ! -e /etc/docker/daemon.json
    # dockerd keeps a removed runtime until it restarts, but reads a named default at once.
    eventually "after the reload Docker has its own default again" default_is runc
    check "containers start as before" run_as --rm busybox:lab true
    if said=$(run_as --rm --runtime gpulease busybox:lab true 2>&1); then
        not_ok "a container runs by a runtime that is removed"
    fi
    has "a container that names gpulease is refused" "$said" "gpulease-runtime"
    check "the administrator's file is there" in_lab test -s /etc/gpulease/devices.toml

    title "apt-get purge leaves only the administrator's files"
    rm -r --one-file-system "$lab/usr/bin/systemctl" "$lab/run/systemd"
    said=$(apt gpulease purge) || not_ok "apt-get purge fails: $said"
    same "it is purged" "" "$(state)"
    same "the root is as before" "$before" \
        "$(listing | grep -v -e ' /etc/gpulease -> \?$' -e ' /etc/gpulease$' -e '/etc/gpulease/devices.toml')"
    check "the administrator's file is there" in_lab test -s /etc/gpulease/devices.toml
    in_lab rm -r --one-file-system /etc/gpulease

    title "install, then purge; and engines that were configured by hand"
    apt "$file" install >/dev/null
    in_lab gpulease install docker >/dev/null
    in_lab gpulease install podman >/dev/null
    in_lab gpulease install podman --precreate >/dev/null
    check "Podman's hook is the package's" \
        in_lab grep -q /usr/bin/gpulease-hook /etc/containers/gpulease-hooks.d/60-gpulease.json
    check "apt-get purge undoes all three" apt gpulease purge
    same "the root is as before" "$before" "$(listing)"
    apt "$file" install >/dev/null
    mkdir -p "$lab/etc/docker"
    echo '{ "runtimes": { "x": { "path": "/usr/bin/gpulease-runtime" } } }' >"$lab/etc/docker/daemon.json"
    said=$(apt gpulease remove)
    has "a runtime that was set by hand causes a warning" "$said" "warning: /etc/docker/daemon.json still names"
    check "the file stays as it is" in_lab grep -q gpulease-runtime /etc/docker/daemon.json
    rm "$lab/etc/docker/daemon.json"
    broken_file_is_in_the_way
    in_lab mkdir -p /usr/local/bin
    in_lab touch /usr/local/bin/gpulease-runtime
    check "beside another gpulease, the package is purged" apt gpulease purge
    check "the other gpulease keeps its leases" in_lab test -d /run/gpulease
    in_lab rm -r --one-file-system /usr/local/bin/gpulease-runtime /run/gpulease /var/lib/gpulease /etc/gpulease
    same "the root is as before" "$before" "$(listing)"
    lab_end
}

# refused_with WHAT CONTAINER: the removal is refused, and changes nothing.
refused_with() {
    local said
    if said=$(apt gpulease remove); then not_ok "a removal with $1 is not refused"; fi
    has "a container with $1 prevents the removal" "$said" "gpulease: not removed: "
    same "it is still installed" "install ok installed $version-2" "$(state)"
    check "Docker's configuration names the runtime" in_lab grep -q /usr/bin/gpulease-runtime /etc/docker/daemon.json
    check "the container goes on, and its engine can use it" in_lab docker exec "$2" true
}

# Podman has no file that names a container's runtime. The arguments of its conmon do.
podman_holds() {
    local podman said
    # On cgroup v1 Podman warns at each call.
    podman=(env PODMAN_IGNORE_CGROUPSV1_WARNING=1 podman --root /var/lib/docker/podman --runroot /run/podman-lab --storage-driver vfs
        --cgroup-manager cgroupfs --runtime /usr/bin/gpulease-runtime)
    in_lab sh -ec 'mkdir -p /tmp/pod/bin && cp /bin/busybox /tmp/pod/bin/sleep'
    check "podman run" in_lab "${podman[@]}" run -d --name pod --network none \
        --cgroup-parent "/$lab_name" --rootfs /tmp/pod sleep 1000
    if said=$(apt gpulease remove); then not_ok "a removal under Podman is not refused"; fi
    has "a container of Podman prevents the removal" "$said" "gpulease: not removed: 1 container(s)"
    in_lab "${podman[@]}" rm -f -t 0 pod >/dev/null
}

# A container without an engine: only its lease shows that it exists.
lease_alone_holds() {
    local said
    "$top/tests/lab/bundle.sh" "$lab/tmp/bare"
    jq --arg group "/$lab_name/bare" '.annotations = {"gpulease/count": "1"}
        | .linux.cgroupsPath = $group' "$lab/tmp/bare/config.json" >"$work/bare.json"
    cp "$work/bare.json" "$lab/tmp/bare/config.json"
    check "gpulease-runtime run" in_lab sh -c \
        'gpulease-runtime run --detach --bundle /tmp/bare bare </dev/null >/dev/null 2>/tmp/said'
    if said=$(apt gpulease remove); then not_ok "a removal with a lease is not refused"; fi
    has "a lease alone prevents the removal" "$said" "gpulease: not removed: leases are held"
    check "the container ends" in_lab gpulease-runtime delete --force bare
    same "no lease is left" "" "$(leases '.leases[]')"
}

# The lab has no systemd. This script stands for systemctl, and prerm finds systemd's directory.
systemctl_that_signals() {
    mkdir -p "$lab/run/systemd/system"
    cat >"$lab/usr/bin/systemctl" <<'EOF'
#!/bin/sh
[ "$*" = "reload docker" ] && kill -HUP "$(cat /run/docker.pid)"
EOF
    chmod 0755 "$lab/usr/bin/systemctl"
}

# A broken file prevents the removal until it is corrected.
broken_file_is_in_the_way() {
    local said text
    apt "$file" install >/dev/null
    in_lab gpulease install docker >/dev/null
    text=$(cat "$lab/etc/docker/daemon.json")
    echo '{ "runtimes": { "gpulease": ' >"$lab/etc/docker/daemon.json"
    if said=$(apt gpulease remove); then not_ok "a removal with a broken daemon.json is not refused"; fi
    has "a file that cannot be parsed prevents the removal" "$said" "an engine's file could not be restored"
    echo "$text" >"$lab/etc/docker/daemon.json"
    check "with a corrected file the package is removed" apt gpulease remove
}
