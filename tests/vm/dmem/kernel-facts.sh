# shellcheck shell=bash disable=SC2154
# Facts about the kernel, systemd, runc and crun on which gpulease relies; read by guest.sh, which
# has the functions. If one of these checks fails, gpulease must be changed.

part "the kernel's controller"
cgroup=/facts
mkdir "$root$cgroup"
all_are() { # CGROUP LIMIT
    is "$vram $2"$'\n'"$gtt max"$'\n'"$other max" cat "$root$1/dmem.max"
}
check "the kernel has it" grep -qw dmem "$root/cgroup.controllers"
check "the regions have their sizes" \
    is "$vram $size"$'\n'"$gtt $size"$'\n'"$other $size" cat "$root/dmem.capacity"
check "systemd does not enable it" not grep -qw dmem "$root/cgroup.subtree_control"
check "a cgroup has no limits then" test ! -e "$root$cgroup/dmem.max"
check "it can be enabled by hand" puts +dmem "$root/cgroup.subtree_control"
check "a cgroup then lists all regions, without a limit" all_are $cgroup max

sets() { # TEXT LIMIT
    puts "$1" "$root$cgroup/dmem.max" && all_are $cgroup "$2"
}
refuses() { # TEXT
    refused 'Invalid argument' puts "$1" "$root$cgroup/dmem.max" && all_are $cgroup 1048576
}
check "a limit is exact to the byte" sets "$vram 1048577" 1048577
check "a limit may have a suffix and a newline" sets "$vram 1M\n" 1048576
check "of two lines at once both are refused" refuses "$vram 2M\n$other 3M\n"
check "an unknown region is refused" refuses "drm/0000:0e:00.0/vram 1M"
check "a region without a limit is refused" refuses "$vram"
check "the kernel enforces the limit" \
    is "$over" inside $cgroup charges 0 1000000 100000
check "another region has no limit" is taken inside $cgroup charges 2 2000000
check "charges are given back" is 0 in_use $cgroup "$vram"

# Sets a limit below the use; prints the limit and the use, and charges more.
lower() {
    exec 4>/dev/vram-test
    inside $cgroup sh -c 'echo 0 1000000 >&4' || return
    puts "$vram 4096" "$root$cgroup/dmem.max" || return
    echo "$(limit $cgroup "$vram") $(in_use $cgroup "$vram")"
    inside $cgroup charges 0 1
    exec 4>&-
}
check "a limit below the use is accepted, and refuses further charges" \
    is "4096 1000000"$'\nResource temporarily unavailable' lower
again() {
    rmdir "$root$cgroup" && mkdir "$root$cgroup" && all_are $cgroup max
}
check "a limit ends with its cgroup" again
rmdir "$root$cgroup"

part "runc"
# disable: a controller that was enabled for one container must not help the next one.
disable() {
    local dir
    for dir in "$root"/system.slice "$root"/tests "$root"; do
        [ ! -d "$dir" ] || puts -dmem "$dir/cgroup.subtree_control" || return
    done
}
limited_to() { # REGION BYTES
    is "$2" limit "$(its_cgroup)" "$1"
}
for driver in cgroupfs systemd; do
    runtime=(runc) path=/tests/runc
    [ $driver = cgroupfs ] || runtime=(runc --systemd-cgroup) path=system.slice:tests:runc
    disable
    configure $path "$vram 1500000"
    check "runc, $driver: it enables the controller for a limit of the spec" run "${runtime[@]}"
    check "runc, $driver: the cgroup has the limit" limited_to "$vram" 1500000
    check "runc, $driver: the kernel enforces it" \
        is "$over" charges_inside "${runtime[@]}" -- 0 1000000 1000000
    # shellcheck disable=SC2016  # for the shell in there
    check "runc, $driver: the container cannot lift it" refused 'Read-only' \
        "${runtime[@]}" exec c sh -c "echo $vram max >/sys/fs/cgroup/dmem.max"
    if [ $driver = systemd ]; then
        outlives() {
            "$@" && sleep 1 && grep -qw dmem "$root/system.slice/cgroup.subtree_control" &&
                limited_to "$vram" 1500000
        }
        check "the limit outlives daemon-reload" outlives systemctl daemon-reload
        check "it outlives a change to the slice" \
            outlives systemctl set-property --runtime system.slice MemoryMax=1400M CPUAccounting=yes
        check "it outlives the start of a unit with a limit" \
            outlives systemd-run --quiet --unit tests-other -p MemoryMax=50M sleep 600
    fi
    end_it "${runtime[@]}" >"$state/end" 2>&1
done
disable
configure /tests/runc "$vram 1500000"$'\n'"$other 1M"
check "runc writes two limits at once, and the kernel refuses" \
    refused 'invalid argument' run runc
runc delete --force c >"$state/end" 2>&1

part "crun"
# enable_down CGROUP: in each cgroup above it.
enable_down() {
    local dir=$root part
    puts +dmem "$dir/cgroup.subtree_control" || return
    for part in $(dirname "$1" | tr / ' '); do
        dir=$dir/$part
        puts +dmem "$dir/cgroup.subtree_control" || return
    done
}
# crun does not do this; a hook can.
set_by_hand() {
    enable_down "$(its_cgroup)" && puts "$vram 1500000" "$root$(its_cgroup)/dmem.max"
}
for driver in cgroupfs systemd; do
    runtime=(crun --cgroup-manager=cgroupfs) path=/tests/crun
    [ $driver = cgroupfs ] || runtime=(crun --systemd-cgroup) path=system.slice:tests:crun
    disable
    configure $path "$vram 1500000"
    check "crun, $driver: it enables no controller for a limit of the spec, and fails" \
        refused "controller \`dmem\` is not available" run "${runtime[@]}"
    "${runtime[@]}" delete --force c >"$state/end" 2>&1
    configure $path ''
    check "crun, $driver: it starts without a limit" run "${runtime[@]}"
    check "crun, $driver: the controller can be enabled for a running container" set_by_hand
    check "crun, $driver: the kernel then enforces the limit" \
        is "$over" charges_inside "${runtime[@]}" -- 0 1000000 1000000
    end_it "${runtime[@]}" >"$state/end" 2>&1
done
disable
