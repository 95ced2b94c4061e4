//! The text below the options in the help of each command.

pub(super) const TOP_AFTER: &str = "\
Examples:
  gpulease devices                     show the devices, and how much is free
  gpulease leases                      show the leases and their holders
  gpulease processes                   show the processes that compute
  gpulease explain count=1 memory=8Gi  tell whether this would start now
  gpulease release web                 take a lease back from a dead container
  gpulease install docker              make an engine use gpulease
  gpulease doctor                      find faults, and how to repair them

Containers ask for devices by annotation, for instance:
  docker run --annotation gpulease/count=1 IMAGE

`gpulease explain` without arguments lists the annotations. Any user can run it,
and completions, `inventory example`, `install --dry-run`, topology, driver and
`mig plan`. For other users than root, processes, doctor and health name the
parts that they could not see. All other commands need root.

Exit statuses:
  0 done, 1 other failures, 2 bad request or arguments, 3 nothing can be
  granted, 4 configuration or inventory, 5 lease directory, 6 no such lease,
  7 the holder is alive. gpulease(1) describes them.";

/// The option of `install` in the help of `uninstall`.
pub(super) const UNINSTALL_PRECREATE: &str =
    "For Podman: remove only the hook of `install --precreate`";

pub(super) const UNINSTALL_AFTER: &str = "\
For podman, the hook of `install --precreate` is removed too. With --config,
only that file is edited.

Examples:
  gpulease uninstall docker --dry-run
  gpulease uninstall docker --reload
  gpulease uninstall --recorded";

pub(super) const COMPLETIONS_AFTER: &str = "\
Examples:
  gpulease completions bash > /etc/bash_completion.d/gpulease
  gpulease completions zsh > /usr/local/share/zsh/site-functions/_gpulease
  gpulease completions fish > /etc/fish/completions/gpulease.fish";

pub(super) const DEVICES_AFTER: &str = "\
Examples:
  gpulease devices
  gpulease devices --wide
  gpulease devices --json |
    jq '.devices[] | select(.milli_free == 1000) | .uuid'";

pub(super) const TOPOLOGY_AFTER: &str = "\
Examples:
  gpulease topology
  gpulease topology --json | jq '.pairs[] | select(.path == \"SYS\")'";

pub(super) const PROCESSES_AFTER: &str = "\
TYPE is C for a process that computes, M for one that computes by MPS, and G for
one that draws, if the driver reports it. A process that only draws makes no
device busy. NVIDIA's driver says which of its GPUs a process uses. Without its
answer a CUDA process is shown on every GPU that it could use, with a note.

Examples:
  gpulease processes
  gpulease processes --json | jq '.processes[] | select(.outside) | .pid'";

pub(super) const DRIVER_AFTER: &str = "\
Examples:
  gpulease driver
  gpulease driver --wide
  gpulease driver --json | jq -r '.drivers[].files[].path'";

pub(super) const MEMORY_AFTER: &str = "\
Examples:
  gpulease memory
  gpulease memory --json |
    jq '.devices[] | select(.used_bytes > .leased_bytes) | .uuid'";

pub(super) const LEASES_AFTER: &str = "\
DEVICES are indices, with the share of compute if it is not the whole device:
`0-3` or `5:250m`. MEMORY is the sum over the devices. ISOLATION is the way in
which devices are shared, and the enforcement of compute and memory: `mps
advisory`, or `mps driver/advisory` if they differ. `whole` is a device without
other leases; `mixed` is a set whose devices are shared in different ways. A
workload cannot undo a limit of the `kernel` or the `driver`. It can undo one
that is `advisory`. A `simulated` limit would be enforced on a real device, and
`none` is no limit.
`over` is a lease whose grace has passed: the next start removes it. In JSON,
the holder of a lease in its grace is `gone`: its container has ended.

Examples:
  gpulease leases
  gpulease leases --all --wide
  gpulease leases --json | jq '.leases[] | select(.holder == \"dead\") | .id'";

pub(super) const EXPLAIN_AFTER: &str = "\
The exit status is 0 if the request would be granted or asks for nothing, 3 if
no device can be granted, and 2 if the request is wrong. Otherwise it is the
status of the code in the message.

Examples:
  gpulease explain
  gpulease explain count=2 vendor=amd
  gpulease explain compute=0.5 memory=8Gi model=H100
  gpulease explain --bundle /run/containerd/io.containerd.runtime.v2.task/NS/ID";

pub(super) const RELEASE_AFTER: &str = "\
Examples:
  gpulease release l-5f1c09ab77de
  gpulease release web --force
  gpulease release web --assume-dead";

pub(super) const DOCTOR_AFTER: &str = "\
With a fault, containers with a request are refused, or get more than they
should. A warning is about a part that works now and may fail later. A note is
worth knowing. Each has a fix, and a code in brackets that never changes. The
exit status is 1 if there is a fault, and 0 otherwise.

Examples:
  gpulease doctor
  gpulease doctor -v
  gpulease doctor --json | jq -r '.checks[] | select(.level == \"fault\") | .fix'";

pub(super) const HEALTH_AFTER: &str = "\
The exit status is 0 if the node is healthy, 1 if it is unhealthy, and 3 if that
is unknown, because this user cannot read all files. `gpulease doctor` says more.

Examples:
  gpulease health
  gpulease health --root /host --json";

pub(super) const INVENTORY_AFTER: &str = "\
Examples:
  gpulease inventory show
  gpulease inventory example h100x8 > /etc/gpulease/devices.toml
  gpulease inventory refresh";
