//! gpulease under a real Podman with its conmon, in the lab of `tests/lab/podman.sh`: by the path
//! of the runtime, by its name in containers.conf, and as the default runtime.

#[path = "podman/cdi.rs"]
mod cdi;
#[path = "podman/crash.rs"]
mod crash;
#[path = "podman/driver.rs"]
mod driver;
#[path = "podman/lab.rs"]
mod lab;
#[path = "podman/life.rs"]
mod life;
#[path = "podman/others.rs"]
mod others;
#[path = "podman/precreate.rs"]
mod precreate;
#[path = "podman/precreate_faults.rs"]
mod precreate_faults;
#[path = "podman/refuse.rs"]
mod refuse;
mod support;
#[path = "podman/units.rs"]
mod units;
