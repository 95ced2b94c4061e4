use super::*;
use crate::injection::facts;
use crate::model::fixtures;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

fn env(value: &str) -> Vec<(String, String)> {
    vec![
        (NVIDIA_CAPABILITIES.to_owned(), "display".to_owned()),
        (NVIDIA_CAPABILITIES.to_owned(), value.to_owned()),
    ]
}

#[test]
fn the_request_then_the_image_then_the_custom_decide() {
    let usual = [Compute, Utility];
    assert_eq!(features(None, &[]), usual);
    assert_eq!(features(None, &env("")), usual);
    assert_eq!(features(None, &env("ngx,\u{1b}[2J")), usual);
    assert_eq!(features(None, &env("ngx, video ,all")), [Video, All]);
    assert_eq!(features(Some(&[Graphics]), &env("all")), [Graphics]);
    assert_eq!(features(Some(&[]), &env("all")), []);
}

#[test]
fn control_nodes_come_with_what_uses_them() {
    let needed = |path: &str, features: &[Capability]| is_needed(path, features);
    for node in ["/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"] {
        assert!(needed(node, &[Compute]) && needed(node, &[All]));
        assert!(!needed(node, &[Utility, Graphics, Video]));
    }
    assert!(
        needed("/dev/nvidia-modeset", &[Display]) && needed("/dev/nvidia-modeset", &[Graphics])
    );
    assert!(!needed("/dev/nvidia-modeset", &[Compute, Utility, Video]));
    assert!(needed("/dev/nvidiactl", &[Utility]) && needed("/dev/nvidia0", &[Video]));
}

fn file(dir: &Path, kind: FileKind, names: &[&str]) -> DriverFile {
    let path = dir.join("file");
    if !path.exists() {
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    DriverFile {
        path: path.display().to_string(),
        kind,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        capabilities: vec![Compute],
    }
}

fn mounted(file: &DriverFile, spec_mounts: &str) -> Vec<String> {
    mounted_in(tempfile::tempdir().unwrap().path(), file, spec_mounts).unwrap()
}

fn mounted_in(image: &Path, file: &DriverFile, spec_mounts: &str) -> Result<Vec<String>, Failure> {
    let spec = facts(format!(r#"{{"mounts":[{spec_mounts}]}}"#).as_bytes()).unwrap();
    let root = library_dir::open(image).unwrap();
    let mut mounts = Vec::new();
    add_mounts(&mut mounts, file, &mut Places::new(root, "/usr/lib64".to_owned(), &spec))?;
    Ok(mounts.into_iter().map(|mount| mount.destination).collect())
}

fn bind(path: &str) -> String {
    format!(r#"{{"destination":"{path}","type":"bind"}}"#)
}

fn image(directories: &[&str], links: &[(&str, &str)]) -> tempfile::TempDir {
    let image = tempfile::tempdir().unwrap();
    for directory in directories {
        fs::create_dir_all(image.path().join(directory)).unwrap();
    }
    for (name, target) in links {
        symlink(target, image.path().join(name)).unwrap();
    }
    image
}

#[test]
fn libraries_in_a_volume_of_the_image_stay_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let library = file(dir.path(), FileKind::Library, &["libcuda.so.1"]);
    // Whether the directory is there in the image or not: the runtime would make it.
    for directories in [&["usr", "data/lib"][..], &["usr"]] {
        let image = image(directories, &[("usr/lib64", "/data/lib")]);
        let of = |mounts: &str| mounted_in(image.path(), &library, mounts).unwrap();
        assert_eq!(of(&bind("/data")), [""; 0]);
        assert_eq!(of(&bind("/other")), ["/data/lib/libcuda.so.1"]);
    }
    // The same by a link in the place of the file, or of a directory of another kind of file.
    let image = image(
        &["usr/lib64", "usr/bin"],
        &[("usr/lib64/libcuda.so.1", "/data/x"), ("run", "data"), ("loop", "loop")],
    );
    let of = |file: &DriverFile, mounts: &str| mounted_in(image.path(), file, mounts);
    assert_eq!(of(&library, &bind("/data")).unwrap(), [""; 0]);
    assert_eq!(of(&library, &bind("/data/y")).unwrap(), ["/usr/lib64/libcuda.so.1"]);
    let config = file(dir.path(), FileKind::Config, &["/run/nvidia/x"]);
    assert_eq!(of(&config, &bind("/data")).unwrap(), [""; 0]);
    assert_eq!(of(&config, "").unwrap(), ["/data/nvidia/x"]);
    let astray = file(dir.path(), FileKind::Binary, &["/loop/nvidia-smi"]);
    assert_eq!(of(&astray, "").unwrap_err().code, Code::BadBundle);
}

#[test]
fn a_users_file_is_not_covered_by_another_name() {
    let dir = tempfile::tempdir().unwrap();
    let library = file(dir.path(), FileKind::Library, &["libcuda.so.1"]);
    // Arch's directories, and a place of the user's that is a link itself.
    let links = [("usr/lib64", "lib"), ("lib", "usr/lib"), ("opt", "lib")];
    let image = image(&["usr/lib"], &links);
    let of = |mounts: &str| mounted_in(image.path(), &library, mounts).unwrap();
    for own in ["/usr/lib/libcuda.so.1", "/lib/libcuda.so.1", "/opt/libcuda.so.1", "/opt"] {
        assert_eq!(of(&bind(own)), [""; 0], "{own}");
    }
    assert_eq!(of(&bind("/opt/libcuda.so")), ["/usr/lib/libcuda.so.1"]);
}

#[test]
fn a_library_has_each_name_but_a_users_mount_wins() {
    let dir = tempfile::tempdir().unwrap();
    let library = file(dir.path(), FileKind::Library, &["libcuda.so.1", "vdpau/x.so"]);
    let both = ["/usr/lib64/libcuda.so.1", "/usr/lib64/vdpau/x.so"];
    assert_eq!(mounted(&library, ""), both);
    for own in ["/usr/lib64/libcuda.so.1", "/usr/lib64//libcuda.so.1/", "/lib64/libcuda.so.1"] {
        assert_eq!(mounted(&library, &bind(own)), both[1..], "{own}");
    }
    assert_eq!(mounted(&library, &bind("/usr/lib64/vdpau")), both[..1]);
    assert_eq!(mounted(&library, &bind("/usr")), both[..0]);
    assert_eq!(mounted(&library, &bind("/usr/lib")), both);
    assert_eq!(mounted(&library, &bind("/")), both);
    // A file system of its own takes what is mounted in it, as systemd's images have one on /run.
    let socket = file(dir.path(), FileKind::Config, &["/run/x/config"]);
    let tmpfs = r#"{"destination":"/run","type":"tmpfs","options":["rw"]}"#;
    assert_eq!(mounted(&socket, tmpfs), ["/run/x/config"]);
}

#[test]
fn libraries_must_have_the_modules_version() {
    let dir = tempfile::tempdir().unwrap();
    let library = DriverFile {
        path: "/usr/lib64/libcuda.so.550.54.14".to_owned(),
        ..file(dir.path(), FileKind::Library, &["libcuda.so.1"])
    };
    let of = |version: Option<&str>| {
        let version = version.map(str::to_owned);
        let vendor = crate::model::device::Vendor::Nvidia;
        let (cuda, root, files) = (None, "/".to_owned(), vec![library.clone()]);
        check_version(&Driver { vendor, version, cuda, library: None, root, files })
    };
    assert!(of(None).is_ok() && of(Some("550.54.14")).is_ok());
    let failure = of(Some("570.10")).unwrap_err();
    assert_eq!(failure.code, Code::StaleInventory);
    assert!(failure.message.contains("570.10"), "{failure:?}");
    assert!(of(Some("54.14")).is_err());
}

#[test]
fn mounts_cannot_be_written_and_sockets_not_be_run() {
    let dir = tempfile::tempdir().unwrap();
    let options = |kind| mount(&file(dir.path(), kind, &[]), "/x".to_owned()).options;
    assert_eq!(options(FileKind::Library), ["bind", "ro", "nosuid", "nodev", "private"]);
    assert!(options(FileKind::Socket).contains(&"noexec".to_owned()));
}

#[test]
fn a_file_that_is_not_what_it_was_is_not_handed_on() {
    let dir = tempfile::tempdir().unwrap();
    let library = file(dir.path(), FileKind::Library, &["libcuda.so.1"]);
    assert!(check(&library).is_ok());
    let path = dir.path().join("file");
    let refused = || {
        let failure = check(&library).unwrap_err();
        assert_eq!(failure.code, Code::StaleInventory);
        failure.message
    };
    fs::set_permissions(&path, fs::Permissions::from_mode(0o646)).unwrap();
    assert!(refused().contains("0646"));
    fs::remove_file(&path).unwrap();
    assert!(refused().contains("No such file"));
    symlink("/etc/shadow", &path).unwrap();
    assert!(refused().contains("another kind"));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(refused().contains("another kind"));
    let firmware = file(dir.path(), FileKind::Firmware, &["/lib/firmware/nvidia/550.10"]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(check(&firmware).is_ok());
    let socket = file(dir.path(), FileKind::Socket, &["/run/x"]);
    assert!(check(&socket).is_err());
}

#[test]
fn drawing_nodes_are_those_of_the_granted_gpu() {
    use crate::model::device::{PciAddress, Vendor};
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    for (gpu, names) in
        [("0000:01:00.0", ["card1", "renderD128"]), ("0000:02:00.0", ["card2", "x"])]
    {
        for name in names {
            fs::create_dir_all(paths.sys.join(format!("bus/pci/devices/{gpu}/drm/{name}")))
                .unwrap();
        }
    }
    fs::create_dir_all(paths.dev.join("dri")).unwrap();
    // card1 is not there: an nvidia-drm without modeset makes none.
    for name in ["renderD128", "card2", "x"] {
        symlink("/dev/null", paths.dev.join("dri").join(name)).unwrap();
    }
    let gpu = |bus| Device {
        pci: PciAddress { domain: 0, bus, device: 0, function: 0 },
        ..fixtures::device("GPU-1", Vendor::Nvidia)
    };
    let nodes_of = |gpus: &[&Device]| {
        let mut nodes = Vec::new();
        add_drawing_nodes(&mut nodes, gpus, &paths);
        add_drawing_nodes(&mut nodes, gpus, &paths);
        nodes.into_iter().map(|node| node.path).collect::<Vec<_>>()
    };
    assert_eq!(nodes_of(&[&gpu(1)]), ["/dev/dri/renderD128"]);
    assert_eq!(nodes_of(&[&gpu(2), &gpu(1)]), ["/dev/dri/card2", "/dev/dri/renderD128"]);
    assert_eq!(nodes_of(&[&gpu(3)]), [""; 0]);
}
