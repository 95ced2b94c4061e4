//! gpulease on Kubernetes' path: a real containerd with its CRI plugin, told of gpulease by
//! `gpulease install containerd` and by nothing else, in the lab of `tests/lab/cri.sh`. A client of
//! our own asks it for pods and containers, as a kubelet does.

#[path = "cri/client.rs"]
mod client;
#[path = "cri/example.rs"]
mod example;
#[path = "cri/lab.rs"]
mod lab;
#[path = "cri/life.rs"]
mod life;
#[path = "cri/messages.rs"]
mod messages;
#[path = "cri/pods.rs"]
mod pods;
mod support;
