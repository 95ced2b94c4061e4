//! Root file systems of several distributions' shapes, and what scripts of tests/lab fetch for them.

use super::engine::Engine;
use super::lab_root;
use gpulease::door::model::machine::{HOST, Machine};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// A root file system with busybox and nothing else, in a directory that is not there yet. Beside
/// it lies what all of them are copies of.
pub fn bare(image: &Path) {
    let template = image.with_file_name(".template");
    if !template.exists() {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/bundle.sh");
        let made = Command::new(script).arg("--rootfs").arg(&template).status().unwrap();
        assert!(made.success());
        fs::create_dir_all(template.join("usr/bin")).unwrap();
    }
    copy(&template, image);
}

/// What NVIDIA's programs are linked to.
const LIBRARIES: [&str; 6] =
    ["libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libgcc_s.so.1"];

/// As Debian and Ubuntu have it: libraries in a directory of the architecture's.
pub fn debian(image: &Path) {
    bare(image);
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
}

/// As Fedora, RHEL and SUSE have it: libraries in `/usr/lib64`, with a loader that looks there.
pub fn lib64(image: &Path) {
    bare(image);
    copy(&fetched("libc.sh").join("lib64/usr/lib64"), &image.join("usr/lib64"));
    fs::create_dir(image.join("usr/lib")).unwrap();
    symlink("usr/lib", image.join("lib")).unwrap();
    symlink("usr/lib64", image.join("lib64")).unwrap();
}

/// As Alpine has it.
pub fn musl(image: &Path) {
    bare(image);
    copy(&fetched("libc.sh").join("musl/usr/lib"), &image.join("usr/lib"));
    symlink("usr/lib", image.join("lib")).unwrap();
}

/// The loader's file name.
pub fn loader() -> &'static str {
    if cfg!(target_arch = "x86_64") { "ld-linux-x86-64.so.2" } else { "ld-linux-aarch64.so.1" }
}

/// What makes an image.
pub type Shape = fn(&Path);

/// Two GPUs, for an engine; see [`install_driver`].
pub const DEVICES: &str = r#"
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
nodes = ["/dev/nvidiactl", "/dev/nvidia-uvm"]
"#;

/// Gives an engine's host the driver's files, and nodes without a driver behind them.
pub fn install_driver(engine: &Engine) {
    copy(&fetched("nvidia.sh"), &engine.path("/driver"));
    engine.configure("driver = \"native\"\ndriver_root = \"/driver\"\nsources = [\"static\"]");
    for (name, numbers) in [
        ("nvidia0", ["195", "0"]),
        ("nvidia1", ["195", "1"]),
        ("nvidiactl", ["195", "255"]),
        ("nvidia-uvm", ["511", "0"]),
    ] {
        let mut command = Command::new("mknod");
        command.args(["-m", "666"]).arg(engine.path("/dev").join(name)).arg("c").args(numbers);
        assert!(command.status().unwrap().success());
    }
}

/// Puts an image into an engine's `/run`, as `NAME.tar`.
pub fn tar(engine: &Engine, name: &str, shape: Shape) {
    let image = engine.path("/run").join(name);
    shape(&image);
    let mut command = Command::new("tar");
    command.arg("-C").arg(&image).arg("-cf").arg(image.with_extension("tar")).arg(".");
    assert!(command.status().unwrap().success());
    fs::remove_dir_all(image).unwrap();
}
