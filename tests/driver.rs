//! NVIDIA's own user-space files in real containers of real runc and crun, on cgroup v1 and v2:
//! the loader of each kind of image finds them, nothing in them can be written, and no image leads
//! out of its root file system.
//!
//! The files are those of Debian's packages (tests/lab/nvidia.sh), the C libraries those of the
//! distributions' kind (tests/lab/libc.sh). There is no GPU and no kernel module: what a program of
//! NVIDIA's says in the end is that it cannot reach the driver.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

#[allow(dead_code, reason = "shared with tests/bundles.rs")]
#[path = "bundles/lab.rs"]
mod lab;

#[path = "driver/files.rs"]
mod files;
#[path = "driver/image.rs"]
mod image;
#[path = "driver/malice.rs"]
mod malice;
#[path = "driver/refusals.rs"]
mod refusals;

use lab::{Place, everywhere};

everywhere! {
    files::programs_of_the_driver_start_in_images_of_both_kinds,
    files::only_what_was_asked_for_is_there,
    files::a_bundle_run_twice_has_each_mount_once,
    files::what_the_user_mounts_is_left_alone_wherever_links_lead,
    malice::no_image_leads_out_of_itself,
}
