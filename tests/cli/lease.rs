//! `lease resize`.

use super::support::{CLI, Host, golden, needs_root, ok, stderr};
use super::{fails, json, stdout};
use gpulease::door::model::isolation::Isolation;
use gpulease::door::model::quantity::Bytes;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

const SHARE: &[(&str, &str)] = &[("gpulease/memory", "8Gi"), ("gpulease/compute", "0.25")];
const REGION: &str = "nvidia/0000:1b:00.0/vidmem";

#[test]
fn what_cannot_be_resized_is_refused_with_the_reason() {
    needs_root!();
    let host = Host::new("h100x8");
    let refused = |args: &[&str], status, code, hint| {
        fails(&host, &[&["lease", "resize"], args].concat(), status, code, hint);
    };
    refused(&["web"], 2, "bad-request", "each of its devices");
    refused(&["web", "--memory", "8Q"], 2, "bad-request", "8Gi");
    refused(&["web", "--compute", "1.5"], 2, "bad-request", "500m");
    refused(&["web", "--compute", "10m"], 2, "bad-request", "500m");
    refused(&[], 2, "bad-request", "");
    refused(&["web", "--memory", "8Gi"], 6, "unknown-lease", "leases --all");
    ok(host.start("whole", &[("gpulease/count", "1")]));
    refused(&["whole", "--memory", "8Gi"], 2, "resize-unsupported", "start it anew");
    ok(host.start("web", SHARE));
    let before = host.lease("web").unwrap();
    refused(&["web", "--memory", "9Gi"], 2, "resize-unsupported", "start it anew");
    refused(&["web", "--compute", "0.3"], 2, "resize-unsupported", "start it anew");
    let output = host.cli(&["lease", "resize", "web", "--compute", "0.3"]);
    assert!(stderr(&output).contains("keeps its size: nothing enforces a share of compute"));
    assert_eq!(host.lease("web").unwrap(), before);
}

/// With a tree of the test's own in the place of the kernel's cgroups.
fn resize(host: &Host, tree: &Path, args: &[&str]) -> Output {
    let script = "mount --bind \"$0\" /sys/fs/cgroup && exec \"$@\"";
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(tree);
    unshare.arg(CLI).arg("--gpulease-config").arg(host.config()).args(["lease", "resize"]);
    unshare.args(args).output().unwrap()
}

#[test]
fn memory_that_the_kernel_limits_changes_at_once() {
    needs_root!();
    let host = Host::new("h100x8");
    ok(host.start("web", SHARE));
    // As it is on a GPU that exists, where the kernel has the controller.
    let mut lease = host.lease("web").unwrap();
    lease.devices[0].dmem_region = Some(REGION.to_owned());
    lease.isolation.effective = Isolation::TimeSlicing;
    lease.cgroup = Some("/sys/fs/cgroup/web".to_owned());
    let ledger_put = |lease| {
        let store = host.store();
        let paths = gpulease::door::paths::Paths::default();
        store.lock(Duration::from_secs(5), &paths).unwrap().put(lease).unwrap();
    };
    ledger_put(&lease);
    let tree = host.path("tree");
    fs::create_dir_all(tree.join("web")).unwrap();
    let file = |name: &str| tree.join("web").join(name);
    fs::write(file("dmem.max"), format!("{REGION} 8589934592\n")).unwrap();
    fs::write(file("dmem.current"), format!("{REGION} 5368709120\n")).unwrap();
    fs::write(file("cgroup.procs"), "").unwrap();
    let limit = || fs::read_to_string(file("dmem.max")).unwrap();

    let text = stdout(&ok(resize(&host, &tree, &["web", "--memory", "6Gi"])));
    assert_eq!(limit(), format!("{REGION} 6442450944\n"));
    let expected = "  from GPU 0:250m, 8Gi\n  to   GPU 0:250m, 6Gi\n";
    assert!(text.starts_with("resized lease l-") && text.ends_with(expected), "{text}");
    let answer = json(&ok(resize(&host, &tree, &["web", "--memory", "9Gi", "--json"])));
    golden::check("lease-resize", answer, host.path("etc").parent().unwrap());
    assert_eq!(limit(), format!("{REGION} 9663676416\n"));
    lease.devices[0].memory_bytes = Some(Bytes(9 << 30));
    assert_eq!(host.lease("web").unwrap(), lease);

    // It uses 5 GiB.
    let output = resize(&host, &tree, &["web", "--memory", "4Gi"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("its processes use 5 GiB of GPU 0, more than 4 GiB"));
    // More than the GPU has.
    let output = resize(&host, &tree, &["web", "--memory", "90Gi"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    // Somebody else has set another limit: it is left alone, and the ledger with it.
    fs::write(file("dmem.max"), format!("{REGION} 1073741824\n")).unwrap();
    let output = resize(&host, &tree, &["web", "--memory", "6Gi"]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert!(stderr(&output).starts_with("gpulease: isolation-failed: "), "{}", stderr(&output));
    assert_eq!(limit(), format!("{REGION} 1073741824\n"));
    assert_eq!(host.lease("web").unwrap(), lease);
}
