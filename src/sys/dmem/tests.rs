use super::*;
use std::path::PathBuf;

#[test]
fn regions_are_read_or_the_reason_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths { sys: dir.path().to_owned(), ..Paths::default() };
    let root = dir.path().join("fs/cgroup");
    fs::create_dir_all(&root).unwrap();
    assert!(regions(&paths).unwrap_err().contains("cgroup v2"));
    fs::write(root.join("cgroup.controllers"), "cpu memory\n").unwrap();
    assert!(regions(&paths).unwrap_err().contains("6.14"));
    fs::write(root.join("cgroup.controllers"), "cpu dmem memory\n").unwrap();
    assert!(regions(&paths).unwrap_err().contains("dmem.capacity"));
    let text = "drm/0000:03:00.0/vram0 8514437120\ndrm/0000:03:00.0/stolen 67108864\njunk\n";
    fs::write(root.join("dmem.capacity"), text).unwrap();
    let regions = regions(&paths).unwrap();
    assert_eq!(regions.get("drm/0000:03:00.0/vram0"), Some(&8_514_437_120));
    assert_eq!(regions.len(), 2);
}

/// A fake cgroup v2 with a container's cgroup below a slice. Its files keep what was written last,
/// as a regular file does: a line each, without the kernel's merging.
struct Tree {
    _dir: tempfile::TempDir,
    paths: Paths,
    own: PathBuf,
}

const VRAM: &str = "drm/0000:03:00.0/vram0";

fn tree(own_limits: &str) -> Tree {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths { sys: dir.path().to_owned(), ..Paths::default() };
    let root = dir.path().join("fs/cgroup");
    let own = root.join("a.slice/docker-1.scope");
    fs::create_dir_all(&own).unwrap();
    fs::write(root.join("cgroup.subtree_control"), "cpu memory dmem").unwrap();
    fs::write(root.join("a.slice/cgroup.subtree_control"), "cpu").unwrap();
    fs::write(own.join("dmem.max"), own_limits).unwrap();
    Tree { _dir: dir, paths, own }
}

fn one(bytes: u64) -> BTreeMap<String, u64> {
    [(VRAM.to_owned(), bytes)].into()
}

#[test]
fn a_limit_is_written_and_the_controller_enabled() {
    let tree = tree("");
    set(&tree.paths, &tree.own, &one(8_589_934_592)).unwrap();
    let said =
        |file: &str| fs::read_to_string(tree.paths.sys.join("fs/cgroup").join(file)).unwrap();
    assert_eq!(said("a.slice/docker-1.scope/dmem.max"), "drm/0000:03:00.0/vram0 8589934592");
    assert_eq!(said("cgroup.subtree_control"), "cpu memory dmem", "it was there");
    // The fake's files must not keep old text behind the new one.
    assert_eq!(said("a.slice/cgroup.subtree_control"), "+dmem");
    let there = limits(&tree.paths, &tree.own).unwrap();
    assert_eq!(there.get(VRAM), Some(&Some(8_589_934_592)));
    clear(&tree.paths, &tree.own, [VRAM]).unwrap();
    let text = said("a.slice/docker-1.scope/dmem.max");
    assert!(text.starts_with("drm/0000:03:00.0/vram0 max"), "{text}");
}

#[test]
fn a_lower_limit_of_another_program_stays() {
    let text = "drm/0000:03:00.0/stolen max\ndrm/0000:03:00.0/vram0 5\n";
    let tree = tree(text);
    set(&tree.paths, &tree.own, &one(6)).unwrap();
    assert_eq!(fs::read_to_string(tree.own.join("dmem.max")).unwrap(), text);
    let there = limits(&tree.paths, &tree.own).unwrap();
    assert_eq!(there.get("drm/0000:03:00.0/stolen"), Some(&None));
}

#[test]
fn a_limit_that_is_not_kept_is_an_error() {
    // A regular file keeps the end of a longer line.
    let tree = tree(&"y".repeat(VRAM.len() + 6));
    let error = set(&tree.paths, &tree.own, &one(4096)).unwrap_err();
    let what = "dmem.max` says `4096y` after `drm/0000:03:00.0/vram0 4096` was written";
    assert!(error.contains(what), "{error}");
    // The limit that was written is lifted again.
    let left = fs::read_to_string(tree.own.join("dmem.max")).unwrap();
    assert!(left.starts_with(&format!("{VRAM} max")), "{left}");
}

#[test]
fn a_missing_file_is_named() {
    let tree = tree("");
    fs::remove_file(tree.own.join("dmem.max")).unwrap();
    let error = set(&tree.paths, &tree.own, &one(1)).unwrap_err();
    assert!(error.starts_with("cannot read `") && error.contains("/dmem.max`: "), "{error}");
    assert!(!tree.own.join("dmem.max").exists(), "no file is ever made");
    fs::remove_file(tree.own.join("../cgroup.subtree_control")).unwrap();
    let error = set(&tree.paths, &tree.own, &one(1)).unwrap_err();
    assert!(error.contains("cgroup.subtree_control"), "{error}");
    assert!(clear(&tree.paths, &tree.own, [VRAM]).is_err());
}

#[test]
fn nothing_outside_of_the_hierarchy_is_touched() {
    let tree = tree("");
    let root = tree.paths.sys.join("fs/cgroup");
    let outside = tree.paths.sys.join("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("dmem.max"), "").unwrap();
    for dir in [root.clone(), outside.clone(), root.join("../../outside"), PathBuf::from("a")] {
        let error = set(&tree.paths, &dir, &one(1)).unwrap_err();
        assert!(error.contains("` is no cgroup below `"), "{error}");
        assert_eq!(limits(&tree.paths, &dir), Err(error.clone()));
        assert_eq!(clear(&tree.paths, &dir, [VRAM]), Err(error));
    }
    fs::remove_file(tree.own.join("dmem.max")).unwrap();
    std::os::unix::fs::symlink(outside.join("dmem.max"), tree.own.join("dmem.max")).unwrap();
    assert!(set(&tree.paths, &tree.own, &one(1)).is_err());
    assert_eq!(fs::read_to_string(outside.join("dmem.max")).unwrap(), "");
}

#[test]
fn only_the_leases_own_limit_is_changed() {
    let tree = tree("drm/0000:03:00.0/vram0 8589934592\n");
    let change = |from, to| change(&tree.paths, &tree.own, VRAM, from, to);
    change(8_589_934_592, 9_663_676_416).unwrap();
    assert_eq!(limits(&tree.paths, &tree.own).unwrap()[VRAM], Some(9_663_676_416));
    change(9_663_676_416, 1_073_741_824).unwrap();
    let error = change(9_663_676_416, 2_147_483_648).unwrap_err();
    assert!(error.contains("to `1073741824`, which is not the lease's 9663676416"), "{error}");
    assert_eq!(limits(&tree.paths, &tree.own).unwrap()[VRAM], Some(1_073_741_824));
    assert!(in_use(&tree.paths, &tree.own, VRAM).is_err());
    fs::write(tree.own.join("dmem.current"), "x 1\ndrm/0000:03:00.0/vram0 4096\n").unwrap();
    assert_eq!(in_use(&tree.paths, &tree.own, VRAM).unwrap(), 4096);
    assert_eq!(in_use(&tree.paths, &tree.own, "drm/0000:04:00.0/vram0").unwrap(), 0);
    assert!(in_use(&tree.paths, Path::new("/etc"), VRAM).is_err());
}
