//! Checks the means by which device rules are enforced: cgroup v1 or v2.

use super::finding::Findings;
use crate::host::Host;

pub(super) fn check(host: &Host, found: &mut Findings) {
    let mount = host.paths.sys.join("fs/cgroup");
    if mount.join("cgroup.controllers").exists() {
        return found.ok("cgroups", "cgroup v2: device rules are BPF programs");
    }
    if mount.join("devices").is_dir() {
        return found.ok("cgroups", "cgroup v1, with the devices controller");
    }
    found.fault(
        "cgroups-no-device-rules",
        "neither cgroup v2 nor the devices controller of v1 is mounted: a container can open the \
         GPUs of others",
        "`mount -t cgroup2 none /sys/fs/cgroup`, or boot with systemd.unified_cgroup_hierarchy=1",
    );
}
