use super::*;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::os::unix::fs::symlink;

/// A host's `/dev` with two nodes, and links to it.
struct Host {
    dir: tempfile::TempDir,
    paths: Paths,
}

impl Host {
    /// `None` if no node can be made.
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let paths = Paths { dev: root.join("dev"), ..Paths::default() };
        fs::create_dir_all(root.join("dev/dri")).unwrap();
        fs::create_dir_all(root.join("srv/nodes")).unwrap();
        fs::write(root.join("dev/file"), "").unwrap();
        symlink("../dev", root.join("srv/link")).unwrap();
        for (path, minor) in [("dev/nvidia0", 0), ("dev/dri/card1", 1), ("srv/nodes/x", 2)] {
            let made = mknod(&root.join(path), SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1219, minor));
            made.ok()?;
        }
        Some(Self { dir, paths })
    }

    fn nodes(&self, source: &str, mount: SpecMount) -> Vec<(String, Option<(u32, u32)>)> {
        let root = self.dir.path().canonicalize().unwrap();
        let source = root.join(source).display().to_string();
        let found = nodes(&[SpecMount { source, ..mount }], &self.paths);
        let place = root.display().to_string();
        let mut found: Vec<_> =
            found.iter().map(|node| (node.path.replace(&place, ""), node.numbers())).collect();
        found.sort();
        found
    }
}

fn bind() -> SpecMount {
    SpecMount { bind: true, ..SpecMount::default() }
}

fn found(nodes: &[(&str, u32)]) -> Vec<(String, Option<(u32, u32)>)> {
    nodes.iter().map(|(path, minor)| ((*path).to_owned(), Some((1219, *minor)))).collect()
}

#[test]
fn a_mount_brings_the_nodes_that_it_shows() {
    let Some(host) = Host::new() else { return };
    let all = found(&[("/dev/dri/card1", 1), ("/dev/nvidia0", 0)]);
    for whole in ["dev", "srv/link", "srv/../dev", "", "/"] {
        assert_eq!(host.nodes(whole, bind()), all, "{whole}");
    }
    assert_eq!(host.nodes("dev/nvidia0", bind()), all[1..]);
    assert_eq!(host.nodes("srv/link/nvidia0", bind()), all[1..]);
    assert_eq!(host.nodes("dev/dri", bind()), all[..1]);
    assert_eq!(host.nodes("srv", bind()), found(&[("/srv/nodes/x", 2)]));
    for none in ["dev/file", "dev/missing", "srv/missing"] {
        assert_eq!(host.nodes(none, bind()), [], "{none}");
    }
    assert_eq!(host.nodes("any", SpecMount { devices: true, ..SpecMount::default() }), all);
}

#[test]
fn a_mount_without_devices_brings_none() {
    let Some(host) = Host::new() else { return };
    let closed = || SpecMount { closes_devices: true, ..bind() };
    for source in ["dev", "dev/nvidia0", "srv/link"] {
        assert_eq!(host.nodes(source, closed()), [], "{source}");
    }
    // The mount of `/dev` below that of `/` stays open.
    assert_eq!(host.nodes("", closed()).len(), 2);
}
