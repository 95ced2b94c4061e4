//! Whole containers by whole engines: `run --rm` of busybox's `true`, by the low-level runtime
//! itself and through the shim. What an engine's client and daemons do besides is in every row.

use super::driver::{Call, Case, interleave, rounds};
use super::host::{NO_REQUEST, WHOLE};
use super::lab::engine::{Engine, RUNTIME};
use super::table::Table;
use gpulease::door::inventory::profiles;

/// The image of the labs.
const IMAGE: [&str; 2] = ["busybox:lab", "true"];
/// The same container can start again at once: its devices are not kept for it.
const NO_GRACE: &str = "[policy]\nrelease_grace = \"0s\"";

/// How a container is run: by the low-level runtime itself, or through the shim with a request.
type Words<'a> = dyn Fn(Option<&'static [(&'static str, &'static str)]>) -> Vec<String> + 'a;

pub fn measure(table: &mut Table) {
    let rounds = rounds("GPULEASE_BENCH_ENGINE_ROUNDS", 20);
    if rounds == 0 {
        return;
    }
    let docker = format!(r#"{{"runtimes": {{"gpulease": {{"path": "{RUNTIME}"}}}}}}"#);
    under("docker", "Docker over runc", "runc", &docker, rounds, table, |_| {
        Box::new(|request| {
            let runtime = if request.is_some() { "gpulease" } else { "runc" };
            let run = ["docker", "run", "--rm", "--network", "none", "--runtime", runtime];
            [strings(&run), annotations(request), strings(&IMAGE)].concat()
        })
    });
    for runtime in ["runc", "crun"] {
        let title = format!("Podman over {runtime}");
        under("podman", &title, runtime, "", rounds, table, |lab| {
            let cgroup = format!("/{}", lab.name);
            Box::new(move |request| {
                let own = format!("/usr/bin/{runtime}");
                let by = if request.is_some() { RUNTIME } else { &own };
                let run = ["podman", "--runtime", by, "run", "--rm", "--network", "none"];
                let cgroup = ["--cgroup-parent", &cgroup];
                [strings(&run), strings(&cgroup), annotations(request), strings(&IMAGE)].concat()
            })
        });
    }
    under("containerd", "ctr over runc", "runc", "", rounds, table, |lab| {
        Box::new(|request| {
            let binary = if request.is_some() { RUNTIME } else { "/usr/bin/runc" };
            let run = ["ctr", "--namespace", &lab.name, "run", "--rm", "--env", "PATH=/bin"];
            let by = ["--runc-binary", binary];
            let what = ["--rootfs", "/srv/busybox", "bench", "true"];
            [strings(&run), strings(&by), annotations(request), strings(&what)].concat()
        })
    });
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn annotations(request: Option<&[(&str, &str)]>) -> Vec<String> {
    let pairs = request.unwrap_or_default().iter();
    pairs.flat_map(|(key, value)| ["--annotation".to_owned(), format!("{key}={value}")]).collect()
}

/// One engine in a lab of its own.
fn under(
    script: &str,
    title: &str,
    runtime: &str,
    config: &str,
    rounds: usize,
    table: &mut Table,
    words: impl for<'a> Fn(&'a Engine) -> Box<Words<'a>>,
) {
    let devices = profiles::find("h100x8").unwrap().toml;
    let low_level = if runtime == "crun" { "/usr/bin/crun" } else { "/usr/bin/runc" };
    let lab = Engine::new(script, low_level, devices, config).unwrap();
    lab.configure(NO_GRACE);
    let (words, pid) = (words(&lab), lab.pid().to_string());
    let call = |request| {
        // nsenter's own start is in every row.
        let enter = ["/usr/bin/env", "nsenter", "--mount", "--net", "--target", &pid];
        let variables = ["/usr/bin/env", "PODMAN_IGNORE_CGROUPSV1_WARNING=1", "HOME=/root"];
        Call::new([strings(&enter), strings(&variables), words(request)].concat())
    };
    let cases = [
        Case::new("without the shim", call(None)),
        Case::new("shim, no request", call(Some(NO_REQUEST))).over(0),
        Case::new("shim, whole GPU", call(Some(WHOLE))).over(0),
    ];
    let samples = interleave(&cases, rounds);
    table.wall_group(&format!("{rounds} rounds of {title}"), &cases, &samples);
    let left = lab.leases();
    assert!(left.is_empty(), "containers that ended still have leases: {left:?}");
}
