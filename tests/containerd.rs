//! gpulease under a real containerd, in the lab of `tests/lab/containerd.sh`, by
//! `ctr run --runc-binary`.

#[path = "containerd/lab.rs"]
mod lab;
#[path = "containerd/life.rs"]
mod life;
mod support;
