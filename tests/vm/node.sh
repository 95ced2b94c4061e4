# shellcheck shell=bash disable=SC2154
# The node before any engine knows gpulease; read by guest.sh, which has the variables.

part "the node is set up as README.md says"
install -m 0755 /tests/bin/gpulease /tests/bin/gpulease-runtime /tests/bin/gpulease-hook \
    /usr/local/bin/
install -d -m 0755 /etc/gpulease
make_devices

check "the machine has systemd, and cgroup v2 alone" \
    test -d /run/systemd/system -a -e /sys/fs/cgroup/cgroup.controllers
check "the inventory is made" gpulease inventory refresh
for engine in docker podman; do
    check "$engine has the image" $engine import --change 'ENV PATH=/bin' \
        --change 'CMD ["/bin/container.sh"]' /tests/busybox.tar "$image"
done
