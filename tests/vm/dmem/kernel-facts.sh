# shellcheck shell=bash disable=SC2154
# What gpulease takes for granted of the kernel, systemd, runc and crun; read by guest.sh, which
# has the functions. Where one of these fails, it is gpulease that must be changed.

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
check "so a cgroup has no limit to set" test ! -e "$root$cgroup/dmem.max"
check "it is enabled by hand" puts +dmem "$root/cgroup.subtree_control"
check "then all regions are listed, without a limit" all_are $cgroup max

sets() { # TEXT LIMIT
    puts "$1" "$root$cgroup/dmem.max" && all_are $cgroup "$2"
}
refuses() { # TEXT
    refused 'Invalid argument' puts "$1" "$root$cgroup/dmem.max" && all_are $cgroup 1048576
}
check "a limit is kept to the byte" sets "$vram 1048577" 1048577
check "a limit has a suffix, and a line its end" sets "$vram 1M\n" 1048576
check "two lines at once are refused, both" refuses "$vram 2M\n$other 3M\n"
check "so is a region that is not there" refuses "drm/0000:0e:00.0/vram 1M"
check "and a region without a limit" refuses "$vram"
check "charges are held to the limit" \
    is "$over" inside $cgroup charges 0 1000000 100000
check "and those of another region are not" is taken inside $cgroup charges 2 2000000
check "what was charged is given back" is 0 in_use $cgroup "$vram"

# A limit below what is in use; with what is then read and what is charged.
lower() {
    exec 4>/dev/vram-test
    inside $cgroup sh -c 'echo 0 1000000 >&4' || return
    puts "$vram 4096" "$root$cgroup/dmem.max" || return
    echo "$(limit $cgroup "$vram") $(in_use $cgroup "$vram")"
    inside $cgroup charges 0 1
    exec 4>&-
}
check "a limit below what is in use is taken, and holds for what comes" \
    is "4096 1000000"$'\nResource temporarily unavailable' lower
again() {
    rmdir "$root$cgroup" && mkdir "$root$cgroup" && all_are $cgroup max
}
check "a limit goes with its cgroup" again
rmdir "$root$cgroup"

part "runc"
# disable: what was enabled for one container must not help the next.
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
    check "by $driver, it enables the controller and sets a limit of the spec" run "${runtime[@]}"
    check "by $driver, the limit is there" limited_to "$vram" 1500000
    check "by $driver, the container is held to it" \
        is "$over" charges_inside "${runtime[@]}" -- 0 1000000 1000000
    # shellcheck disable=SC2016  # for the shell in there
    check "by $driver, the container cannot lift it" refused 'Read-only' \
        "${runtime[@]}" exec c sh -c "echo $vram max >/sys/fs/cgroup/dmem.max"
    if [ $driver = systemd ]; then
        outlives() {
            "$@" && sleep 1 && grep -qw dmem "$root/system.slice/cgroup.subtree_control" &&
                limited_to "$vram" 1500000
        }
        check "daemon-reload leaves it" outlives systemctl daemon-reload
        check "so does a change to the slice" \
            outlives systemctl set-property --runtime system.slice MemoryMax=1400M CPUAccounting=yes
        check "so does another unit with a limit" \
            outlives systemd-run --quiet --unit tests-other -p MemoryMax=50M sleep 600
    fi
    end_it "${runtime[@]}" >"$state/end" 2>&1
done
disable
configure /tests/runc "$vram 1500000"$'\n'"$other 1M"
check "it gives two limits to the kernel at once, which refuses" \
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
# What a hook can do, as crun does not.
set_by_hand() {
    enable_down "$(its_cgroup)" && puts "$vram 1500000" "$root$(its_cgroup)/dmem.max"
}
for driver in cgroupfs systemd; do
    runtime=(crun --cgroup-manager=cgroupfs) path=/tests/crun
    [ $driver = cgroupfs ] || runtime=(crun --systemd-cgroup) path=system.slice:tests:crun
    disable
    configure $path "$vram 1500000"
    check "by $driver, it enables no controller for a limit of the spec, and fails" \
        refused "controller \`dmem\` is not available" run "${runtime[@]}"
    "${runtime[@]}" delete --force c >"$state/end" 2>&1
    configure $path ''
    check "by $driver, it starts without one" run "${runtime[@]}"
    check "by $driver, the controller can be enabled above a container that runs" set_by_hand
    check "by $driver, the container is then held to the limit" \
        is "$over" charges_inside "${runtime[@]}" -- 0 1000000 1000000
    end_it "${runtime[@]}" >"$state/end" 2>&1
done
disable
