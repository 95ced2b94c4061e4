//! Images that are made to lead a program with the host's rights astray.

use crate::image::{self, NODES, ONE, bundle, make};
use crate::lab::Place;
use crate::support::images::{self, machine};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

const WHOLE: &[(&str, &str)] = &[("gpulease/devices", ONE)];

/// Files of the host that images name, on a file system that keeps the time of each reading; and a
/// shim that has ten seconds.
const VICTIMS: &str = r#"
gl() { timeout 10 "$SHIM" --gpulease-config "$CONFIG" --root "$ROOT" "$@"; }
mkdir -p "$B/victims"
mount -t tmpfs -o strictatime victims "$B/victims"
mkdir "$B/victims/lib"
cp "$LIBC" "$B/victims/lib/libc.so.6"
echo precious >"$B/victims/lib/libcuda.so.1"
echo precious >"$B/victims/read"
find "$B/victims" -exec touch -d 2001-01-01 {} +
touch -a -d 2001-01-01 "$B/victims/lib"
look_at_victims() {
    stat -c '%n %X %Y %s' "$B/victims/lib/libc.so.6" "$B/victims/lib/libcuda.so.1" "$B/victims/read"
    stat -c '%n %Y' "$B/victims/lib"
    grep -c victims /proc/self/mountinfo
}
step before look_at_victims
"#;

pub fn no_image_leads_out_of_itself(place: Place) {
    let lab = image::lab(place, "");
    let multiarch = machine().multiarch;
    let victims = lab.host.path("bundles/victims");
    let mut script = format!(
        "{NODES}\nLIBC={}\n{VICTIMS}",
        crate::support::lab_root().join(format!("usr/lib/{multiarch}/libc.so.6")).display()
    );
    let mut try_it = |image: &Path| {
        bundle(&lab, image, WHOLE, "echo started; ls /dev");
        let name = image.file_name().unwrap().to_str().unwrap();
        script.push_str(&format!("make {name} run {name}\n"));
    };
    let link = |image: &Path, path: &str, target: &Path| {
        let path = image.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    };
    let lib = format!("usr/lib/{multiarch}");

    // The directory of libraries is the root, a directory of the host's, or above the root.
    let image = make(&lab, "to-root", images::bare);
    link(&image, &lib, Path::new("/"));
    try_it(&image);
    let image = make(&lab, "to-host", images::bare);
    link(&image, &lib, &victims.join("lib"));
    try_it(&image);
    let image = make(&lab, "up", images::bare);
    let up = format!("../../../../../../../../../../../..{}", victims.join("lib").display());
    link(&image, &lib, Path::new(&up));
    try_it(&image);
    let image = make(&lab, "to-proc", images::bare);
    link(&image, &format!("{lib}/libc.so.6"), Path::new("/proc/self/exe"));
    link(&image, "usr/lib64", Path::new("/proc/1/root/usr/lib64"));
    try_it(&image);

    // What is no file, where a file belongs.
    let image = make(&lab, "circle", images::bare);
    link(&image, &lib, Path::new("/usr/lib64"));
    link(&image, "usr/lib64", &Path::new("/").join(&lib));
    try_it(&image);
    let node = |name: &str, args: &[&str]| {
        let image = make(&lab, name, images::bare);
        fs::create_dir_all(image.join(&lib)).unwrap();
        let path = image.join(&lib).join("libc.so.6");
        let mut command = std::process::Command::new("mknod");
        assert!(command.arg(path).args(args).status().unwrap().success());
        image
    };
    try_it(&node("pipe", &["p"]));
    try_it(&node("device", &["c", "1", "5"]));
    let image = make(&lab, "directory", images::bare);
    fs::create_dir_all(image.join(&lib).join("libc.so.6")).unwrap();
    try_it(&image);

    // A good image but for what the driver's files are to be mounted on.
    let image = make(&lab, "in-the-way", images::debian);
    link(&image, &format!("{lib}/libcuda.so.1"), &victims.join("lib/libcuda.so.1"));
    link(
        &image,
        &format!("{lib}/libcuda.so"),
        &Path::new("../../../../../../../..")
            .join(victims.join("lib/libcuda.so.1").strip_prefix("/").unwrap()),
    );
    link(&image, "usr/bin/nvidia-smi", &victims.join("new-file"));
    try_it(&image);
    let image = make(&lab, "crowd", images::debian);
    for number in 0..10_000 {
        fs::write(image.join(&lib).join(format!("libcuda.so.{number}")), "").unwrap();
    }
    try_it(&image);

    script.push_str("step after look_at_victims\ncat \"$B/victims/read\" >/dev/null\n");
    script.push_str("step control look_at_victims\nls -A \"$B/victims\" \"$B/victims/lib\" >\"$OUT/names.out\"\n");
    let Some(steps) = lab.run(&script) else { return };

    // The measure is a measure: reading a file shows.
    assert_ne!(steps.ok("after"), steps.ok("control"));
    assert_eq!(steps.ok("before"), steps.ok("after"), "{}", steps.all());
    let names = steps.out("names");
    assert!(!names.contains("new-file") && names.contains("libcuda.so.1"), "{names}");

    for name in ["circle", "pipe", "device", "directory"] {
        let text = steps.refused(name, "bad-bundle");
        assert!(text.contains("libc.so.6"), "{text}");
    }
    for name in ["to-root", "to-host", "up", "to-proc", "in-the-way", "crowd"] {
        let text = steps.ok(name);
        assert!(text.contains("started") && text.contains("nvidia0"), "{name}: {text}");
    }
}
