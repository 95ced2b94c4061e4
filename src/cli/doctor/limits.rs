//! Checks that the limits of live leases are still in force. systemd owns its part of the cgroup
//! tree, and may reset settings that it does not know when it reloads its units.

use super::finding::Findings;
use crate::host::Host;
use crate::model::id::short_id;
use crate::model::lease::{Lease, LeaseState};
use crate::model::text::shown;
use crate::sys::dmem;
use std::path::Path;

/// Checks that the kernel limits a live lease's device memory as the lease says.
pub(super) fn check(lease: &Lease, host: &Host, found: &mut Findings) {
    let Some(cgroup) = lease.cgroup.as_deref().filter(|_| lease.state == LeaseState::Bound) else {
        return;
    };
    let dir = host.paths.on_host(Path::new(cgroup));
    let limited = lease
        .devices
        .iter()
        .filter_map(|device| Some((device.dmem_region.as_deref()?, device.memory_bytes?.0)));
    for (region, bytes) in limited {
        let said = match dmem::limits(&host.paths, &dir) {
            Ok(limits) => match limits.get(region).copied().flatten() {
                Some(limit) if limit <= bytes => continue,
                Some(limit) => format!("limits it to {limit}"),
                None => "does not limit it".to_owned(),
            },
            Err(error) => format!("cannot be asked: {error}"),
        };
        found.fault(
            "limit-lost",
            format!(
                "lease {} of container {} has {bytes} bytes of {}, and the kernel {said}",
                lease.id,
                shown(short_id(lease.container_id.as_str())),
                shown(region),
            ),
            "restart the container: then its lease is limited again",
        );
    }
}
