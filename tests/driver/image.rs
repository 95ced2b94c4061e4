//! A host with NVIDIA's files and nodes, and bundles of images.

use crate::lab::{Lab, Place};
use crate::support::images::{self, fetched};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

pub const ONE: &str = "GPU-00000000-0000-4000-8000-000000000001";

/// Two GPUs with all the nodes that the driver makes for them; see [`NODES`].
fn devices() -> String {
    let more = r#""/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset"]"#;
    images::DEVICES.replace(r#""/dev/nvidia-uvm"]"#, more)
}

/// For scenarios: NVIDIA's nodes, seen by the scenario alone. No driver is behind them.
pub const NODES: &str = r#"
mknod -m 666 "/dev/nvidia0" c 195 0
mknod -m 666 "/dev/nvidia1" c 195 1
mknod -m 666 "/dev/nvidiactl" c 195 255
mknod -m 666 "/dev/nvidia-modeset" c 195 254
mknod -m 666 "/dev/nvidia-uvm" c 511 0
mknod -m 666 "/dev/nvidia-uvm-tools" c 511 1
"#;

/// A lab whose host has the driver's files.
pub fn lab(place: Place, more: &str) -> Lab {
    let lab = Lab::new(place, &devices());
    let root = fetched("nvidia.sh");
    let config = format!("driver_root = {root:?}\nsources = [\"static\"]\n{more}");
    lab.host.configure(&place.program(), &config);
    lab
}

/// A new image of the lab's, of a shape of [`images`].
pub fn make(lab: &Lab, name: &str, shape: fn(&Path)) -> PathBuf {
    let image = lab.host.path("images").join(name);
    fs::create_dir_all(image.parent().unwrap()).unwrap();
    shape(&image);
    image
}

/// A bundle of an image, whose process is a shell.
pub fn bundle(lab: &Lab, image: &Path, annotations: &[(&str, &str)], shell: &str) {
    let name = image.file_name().unwrap().to_str().unwrap();
    lab.bundle_with(name, annotations, |spec| {
        // Writable, so that nothing but our mounts keeps a process from writing.
        spec["root"] = json!({ "path": image, "readonly": false });
        spec["process"]["args"] = json!(["sh", "-c", shell]);
    });
}
