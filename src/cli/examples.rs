//! What stands below the options in the help of each command.

pub(super) const TOP_AFTER: &str = "\
Examples:
  gpulease devices                     what the node has and what is free
  gpulease leases                      who holds what
  gpulease processes                   who computes, with a lease and without
  gpulease explain count=1 memory=8Gi  would this start now, and if not, why
  gpulease release web                 take a lease back from a dead container
  gpulease install docker              have an engine use gpulease
  gpulease doctor                      what is wrong here, and how to fix it

Containers ask for devices by annotation, for instance:
  docker run --annotation gpulease/count=1 IMAGE

`gpulease explain` without arguments lists the annotations. That, completions,
`inventory example`, `install --dry-run`, topology, driver and mig plan work for
any user; processes, doctor and health say what they could not see. All else
needs root: who holds what is for nobody else to read.

Exit statuses:
  0 done, 1 other failures, 2 bad request or arguments, 3 nothing can be
  granted, 4 configuration or inventory, 5 lease directory, 6 no such lease,
  7 the holder is alive. See gpulease(1).";

/// What the option means here.
pub(super) const UNINSTALL_PRECREATE: &str =
    "Podman: take out only the hook that `install --precreate` put in";

pub(super) const UNINSTALL_AFTER: &str = "\
For podman, the hook of `install --precreate` goes too. With --config, only that
file is edited.

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
  gpulease devices --json | jq '.devices[] | select(.milli_free == 1000) | .uuid'";

pub(super) const TOPOLOGY_AFTER: &str = "\
Examples:
  gpulease topology
  gpulease topology --json | jq '.pairs[] | select(.path == \"SYS\")'";

pub(super) const PROCESSES_AFTER: &str = "\
TYPE is C for a process that computes, M for one that computes by MPS, G for one
that draws, where the driver tells of those; who only draws makes no device busy.
On which of NVIDIA's GPUs a process is, the driver is asked; without an answer a
CUDA process is shown on every GPU that it could use, and a note says so.

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
DEVICES are indices, with the share of compute where it is not the whole
device: `0-3` or `5:250m`. MEMORY is the sum over the devices. ISOLATION is how
the lease is made true (`whole`: nobody else has the device; `mixed`: not in one
way on each) and who holds its container to it, compute and memory apart where
that differs: `mps advisory`, `mps driver/advisory`. Neither `kernel` nor
`driver` can be got round, `advisory` is the workload's good will, `simulated`
would hold on a real device, and `none` is no limit at all.
`over` is a lease whose grace has passed: it is gone with the next start. In
JSON, the holder of a lease in its grace is `gone`: its container has ended.

Examples:
  gpulease leases
  gpulease leases --all --wide
  gpulease leases --json | jq '.leases[] | select(.holder == \"dead\") | .id'";

pub(super) const EXPLAIN_AFTER: &str = "\
Exits with 0 if the request would be granted or asks for nothing, with 3 if
there is nothing to grant, with 2 if the request is wrong, and else with the
status of the code that it names.

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
A fault refuses containers with a request, or gives them what they should not
have. A warning works now and will surprise somebody. A note is worth knowing.
Each has a code in brackets, which stays, and a fix. Exits with 1 if there is a
fault, else with 0.

Examples:
  gpulease doctor
  gpulease doctor -v
  gpulease doctor --json | jq -r '.checks[] | select(.level == \"fault\") | .fix'";

pub(super) const HEALTH_AFTER: &str = "\
Exits with 0 if it is healthy, with 1 if it is unhealthy, and with 3 if that is
unknown, because something cannot be looked at, as by another user than root;
`gpulease doctor` says more.

Examples:
  gpulease health
  gpulease health --root /host --json";

pub(super) const INVENTORY_AFTER: &str = "\
Examples:
  gpulease inventory show
  gpulease inventory example h100x8 > /etc/gpulease/devices.toml
  gpulease inventory refresh";
