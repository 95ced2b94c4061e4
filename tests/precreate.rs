//! The `precreate` hook without Podman: a shell calls it in a container's directory, as Podman
//! does, and the stub runtime makes the container. With Podman it is in `podman/precreate.rs`.

#[path = "precreate/faults.rs"]
mod faults;
#[path = "precreate/grant.rs"]
mod grant;
#[path = "precreate/podman.rs"]
mod podman;
mod support;
