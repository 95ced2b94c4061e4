//! gpulease under a real dockerd and containerd, in the lab of `tests/lab/docker.sh`: what a user
//! of Docker sees, and what becomes of the leases whatever is done to containers, to the runtime
//! and to the daemon.

#[path = "docker/builds.rs"]
mod builds;
#[path = "docker/crash.rs"]
mod crash;
#[path = "docker/devices.rs"]
mod devices;
#[path = "docker/driver.rs"]
mod driver;
#[path = "docker/healthy.rs"]
mod healthy;
#[path = "docker/lab.rs"]
mod lab;
#[path = "docker/life.rs"]
mod life;
#[path = "docker/lock.rs"]
mod lock;
#[path = "docker/nested.rs"]
mod nested;
#[path = "docker/refuse.rs"]
mod refuse;
#[path = "docker/shares.rs"]
mod shares;
mod support;
