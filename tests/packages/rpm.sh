# shellcheck shell=bash disable=SC2154,SC2016
# (run.sh sets $deb, $rpm and the like; another shell expands text in single quotes)
#
# The rpm with the real rpm program, in its own root: Debian's with an empty rpm database. No engine
# runs there. The scripts are those of the deb, which docker.sh tests beside an engine. Sourced by
# run.sh.

in_root() {
    nsenter --mount --target "$root_pid" "$@"
}

# Debian's rpm advises at each call to use dpkg; these lines are left out.
rpm_do() {
    local said rc=0
    said=$(in_root rpm --root "$root" --dbpath /var/lib/rpm "$@" 2>&1) || rc=$?
    grep -v -e '^rpm: RPM should not be used' -e '^rpm: However assuming' <<<"$said" || true
    return "$rc"
}

rpm_listing() {
    in_root find "$root" -xdev -path "$root/var/lib/rpm" -prune \
        -o \( -type d -printf '%y %m %u:%g %p\n' \) -o -printf '%y %m %u:%g %s %p -> %l\n' | sort
}

rpm_life() {
    local before said wired cache=${GPULEASE_LAB_CACHE:-/var/cache/gpulease-lab}
    title "the rpm: install, upgrade, erase"
    root=$work/rpm-root
    mkdir -p "$root" "$work/layer"
    # Its mounts end with it, and it ends with this shell.
    setpriv --pdeathsig KILL unshare --mount --propagation private sh -ec '
        mount -t tmpfs layer "$2" && mkdir "$2/upper" "$2/work"
        mount -t overlay -o "lowerdir=$3,upperdir=$2/upper,workdir=$2/work" overlay "$1"
        mount -t tmpfs -o mode=755 run "$1/run" && mount -t proc proc "$1/proc"
        touch "$1/run/ready" && exec sleep infinity' sh "$root" "$work/layer" "$cache/trixie" &
    root_pid=$!
    eventually "the root is there" in_root test -e "$root/run/ready"
    in_root rm "$root/run/ready"
    rpm_do --initdb >/dev/null
    # On distributions with rpm, the package `filesystem` has these directories.
    in_root mkdir -p "$root"/usr/share/man/man{1,5,8} "$root/usr/share/zsh/site-functions"
    before=$(rpm_listing)

    said=$(rpm_do -i "$rpm" || true)
    has "it is not installed without a low-level runtime" "$said" "(runc or crun) is needed"
    # rpm does not know that Debian's packages are installed.
    check "rpm -i" rpm_do --nodeps -i "$rpm"
    check "the files are as they were packed" rpm_do --nodeps -V gpulease
    same "the lease directory is there" "directory 755 0:0" "$(in_root stat -c '%F %a %u:%g' "$root/run/gpulease")"
    in_root chroot "$root" sh -ec 'gpulease inventory example mixed4 >/etc/gpulease/devices.toml
        gpulease install docker >/dev/null'
    wired=$(in_root cat "$root/etc/docker/daemon.json")
    has "the packaged runtime is named" "$wired" '"/usr/bin/gpulease-runtime"'
    said=$(rpm_do --nodeps -U "$next_rpm")
    same "an upgrade prints nothing" "" "$said"
    same "it is upgraded" "gpulease-$version-2" "$(rpm_do -q --queryformat '%{NVR}' gpulease)"
    same "the engine's configuration is the same" "$wired" "$(in_root cat "$root/etc/docker/daemon.json")"

    in_root mkdir -p "$root/run/containerd/io.containerd.runtime.v2.task/moby/web"
    in_root sh -c 'printf %s /usr/bin/gpulease-runtime >"$1"' sh \
        "$root/run/containerd/io.containerd.runtime.v2.task/moby/web/runtime"
    if said=$(rpm_do -e gpulease); then not_ok "rpm -e while a container runs is not refused"; fi
    has "a container prevents the removal" "$said" "gpulease: not removed: 1 container(s)"
    check "it is still installed" rpm_do -q gpulease
    in_root rm -r --one-file-system "$root/run/containerd"

    check "rpm -e" rpm_do -e gpulease
    same "the root is as before, except the administrator's file" "$before" \
        "$(rpm_listing | grep -v -e ' [^ ]*/etc/gpulease$' -e '/etc/gpulease/devices.toml')"
    check "the administrator's file stays" in_root test -s "$root/etc/gpulease/devices.toml"
    kill "$root_pid"
    wait "$root_pid" 2>/dev/null || true
}
