//! Images of several distributions' shapes, and a host with NVIDIA's files and nodes.

use crate::lab::{Lab, Place};
use crate::support::lab_root;
use gpulease::model::machine::{HOST, Machine};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub const ONE: &str = "GPU-00000000-0000-4000-8000-000000000001";

/// Two GPUs with the nodes that the driver makes for them; see [`NODES`].
const DEVICES: &str = r#"
simulated = false
[[device]]
uuid = "GPU-00000000-0000-4000-8000-000000000001"
vendor = "nvidia"
model = "NVIDIA Test"
memory_mib = 1024
pci = "0000:01:00.0"
nodes = ["/dev/nvidia0"]
[[device]]
uuid = "GPU-00000000-0000-4000-8000-000000000002"
vendor = "nvidia"
model = "NVIDIA Test"
memory_mib = 1024
pci = "0000:02:00.0"
nodes = ["/dev/nvidia1"]
[[control]]
vendor = "nvidia"
nodes = ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset"]
"#;

/// For scenarios: a `/dev` with NVIDIA's nodes, seen by the scenario alone. No driver is behind
/// them.
pub const NODES: &str = r#"
mkdir -p "$B/dev"
mount -t tmpfs -o mode=755 lab "$B/dev"
for _d in null zero full random urandom tty; do cp -a "/dev/$_d" "$B/dev"; done
ln -s /proc/self/fd "$B/dev/fd"
mknod -m 666 "$B/dev/nvidia0" c 195 0
mknod -m 666 "$B/dev/nvidia1" c 195 1
mknod -m 666 "$B/dev/nvidiactl" c 195 255
mknod -m 666 "$B/dev/nvidia-modeset" c 195 254
mknod -m 666 "$B/dev/nvidia-uvm" c 511 0
mknod -m 666 "$B/dev/nvidia-uvm-tools" c 511 1
mount --move "$B/dev" /dev
"#;

pub fn machine() -> Machine {
    HOST.expect("an architecture with drivers")
}

/// What a script of tests/lab that fetches something says where it is.
pub fn fetched(script: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab").join(script);
    let output = Command::new(path).stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{script} failed");
    String::from_utf8(output.stdout).unwrap().trim().into()
}

/// A lab whose host has the driver's files.
pub fn lab(place: Place, more: &str) -> Lab {
    let lab = Lab::new(place, DEVICES);
    let root = fetched("nvidia.sh");
    let config = format!("driver_root = {root:?}\nsources = [\"static\"]\n{more}");
    lab.host.configure(&place.program(), &config);
    lab
}

/// A root file system with busybox and nothing else.
pub fn bare(lab: &Lab, name: &str) -> PathBuf {
    let image = lab.host.path("images").join(name);
    fs::create_dir_all(image.parent().unwrap()).unwrap();
    copy(&lab.host.path("template/rootfs"), &image);
    fs::create_dir_all(image.join("usr/bin")).unwrap();
    image
}

pub fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// What NVIDIA's programs are linked to.
const LIBRARIES: [&str; 6] =
    ["libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libgcc_s.so.1"];

/// As Debian and Ubuntu have it: libraries in a directory of the architecture's.
pub fn debian(lab: &Lab, name: &str) -> PathBuf {
    let image = bare(lab, name);
    let directory = format!("usr/lib/{}", machine().multiarch);
    fs::create_dir_all(image.join(&directory)).unwrap();
    fs::create_dir_all(image.join("usr/lib64")).unwrap();
    let from = lab_root().join(&directory);
    let loader = loader();
    for library in LIBRARIES.iter().chain([&loader]) {
        if from.join(library).exists() {
            fs::copy(from.join(library), image.join(&directory).join(library)).unwrap();
        }
    }
    symlink("usr/lib", image.join("lib")).unwrap();
    symlink("usr/lib64", image.join("lib64")).unwrap();
    let target = format!("../lib/{}/{loader}", machine().multiarch);
    symlink(target, image.join("usr/lib64").join(loader)).unwrap();
    image
}

/// As Fedora, RHEL and SUSE have it: libraries in `/usr/lib64`, with a loader that looks there.
pub fn lib64(lab: &Lab, name: &str) -> PathBuf {
    let image = bare(lab, name);
    copy(&fetched("libc.sh").join("lib64/usr/lib64"), &image.join("usr/lib64"));
    fs::create_dir(image.join("usr/lib")).unwrap();
    symlink("usr/lib", image.join("lib")).unwrap();
    symlink("usr/lib64", image.join("lib64")).unwrap();
    image
}

/// As Alpine has it.
pub fn musl(lab: &Lab, name: &str) -> PathBuf {
    let image = bare(lab, name);
    copy(&fetched("libc.sh").join("musl/usr/lib"), &image.join("usr/lib"));
    symlink("usr/lib", image.join("lib")).unwrap();
    image
}

/// The loader's file name.
pub fn loader() -> &'static str {
    if cfg!(target_arch = "x86_64") { "ld-linux-x86-64.so.2" } else { "ld-linux-aarch64.so.1" }
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
