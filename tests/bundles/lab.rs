//! Real runtimes under both versions of cgroups. A scenario is a shell script that runs as a whole
//! inside one `lab/cgroup.sh`, because a container does not outlive that; what its steps printed,
//! and the leases at each moment, are judged afterwards.

use super::support::{CLI, Host, SHIM};
use gpulease::door::model::lease::{Lease, LeaseState};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Two harmless devices that exist: their drivers let anybody open them, so whether an open
/// succeeds is up to the node and the device rule alone. Neither number is in a runtime's default
/// list.
pub const REAL: &str = r#"
simulated = false
[[device]]
uuid = "GPU-00000000-0000-4000-8000-000000000229"
vendor = "nvidia"
model = "Test FUSE"
memory_mib = 1024
pci = "0000:01:00.0"
nodes = ["/dev/fuse"]
[[device]]
uuid = "GPU-00000000-0000-4000-8000-000000000237"
vendor = "nvidia"
model = "Test Loop"
memory_mib = 1024
pci = "0000:02:00.0"
nodes = ["/dev/loop-control"]
"#;
pub const FUSE: &str = "GPU-00000000-0000-4000-8000-000000000229";
pub const LOOP: &str = "GPU-00000000-0000-4000-8000-000000000237";

/// What every script begins with.
const PRELUDE: &str = r#"
exec </dev/null
gl() { "$SHIM" --gpulease-config "$CONFIG" --root "$ROOT" "$@"; }
# step NAME CMD...: keeps what it prints and how it ends. A detached container prints there too.
step() {
    _n=$1 _rc=0
    shift
    "$@" >"$OUT/$_n.out" 2>"$OUT/$_n.err" || _rc=$?
    echo "$_rc" >"$OUT/$_n.rc"
}
# make STEP VERB BUNDLE [OPTION...]: a container with the name of its bundle.
make() {
    _s=$1 _v=$2 _b=$3
    shift 3
    step "$_s" gl --log "$B/$_b/log.json" --log-format json "$_v" "$@" \
        --bundle "$B/$_b" --pid-file "$B/$_b/init.pid" "$P-$_b"
}
pid() { cat "$B/$1/init.pid"; }
leases() { cp -r "$RUN_DIR/leases" "$OUT/$1.leases"; }
# until CMD...: within 20 seconds
until_() {
    _t=0
    until "$@"; do
        _t=$((_t + 1))
        [ $_t -lt 1000 ] || { echo "never: $*" >&2; exit 9; }
        sleep 0.02
    done
}
# As gpulease judges: a zombie is gone once its last thread is.
gone() {
    ! [ -e "/proc/$1/stat" ] || sed 's/.*) //' "/proc/$1/stat" 2>/dev/null |
        awk '$1 == "Z" && $18 == 1 { gone = 1 } END { exit !gone }'
}
says() { grep -qx "$2" "$OUT/$1.out"; }
kill9() { kill -9 "$1"; until_ gone "$1"; }
cleanup() {
    for _d in "$ROOT"/*/; do
        [ -d "$_d" ] || continue
        _r=/usr/sbin/runc
        [ ! -e "$_d/status" ] || _r=$CRUN
        "$_r" --root "$ROOT" delete --force "$(basename "$_d")" >/dev/null 2>&1
    done
    # What a killed runtime left. The prefix is this scenario's alone.
    for _i in 1 2 3 4 5; do
        find /sys/fs/cgroup -type d -name "$P-*" >"$OUT/.cgroups" 2>/dev/null
        [ -s "$OUT/.cgroups" ] || break
        while read -r _c; do
            find "$_c" -name cgroup.procs -exec cat {} + 2>/dev/null | while read -r _p; do
                kill -9 "$_p" 2>/dev/null
            done
            find "$_c" -depth -type d -exec rmdir {} + 2>/dev/null
        done <"$OUT/.cgroups"
        sleep 0.05
    done
}
trap cleanup EXIT
trap 'exit 1' TERM INT HUP
"#;

/// A /dev of the scenario's own: the host's nodes may have any group and mode, and a test that fails
/// damages none of them. Nothing of the host's is mounted into it. A runtime may give a container's standard input to its user.
const OWN_DEV: &str = r#"
mount -t tmpfs -o mode=755,dev none /dev
mkdir /dev/pts
mkdir -m 1777 /dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 none /dev/pts
ln -s pts/ptmx /dev/ptmx
ln -s /proc/self/fd /dev/fd
for _l in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${_l%:*}" "/dev/${_l#*:}"; done
for _n in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "/dev/${_n%:*}" c 1 "${_n#*:}"; done
mknod -m 666 /dev/tty c 5 0
mknod -m 666 /dev/fuse c 10 229
mknod -m 666 /dev/loop-control c 10 237
"#;

/// A runtime and a version of cgroups.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub runtime: &'static str,
    pub cgroup: &'static str,
}

impl Place {
    /// The program. Debian 12's crun sets no device rules on v2 without CAP_SYS_RESOURCE.
    pub fn program(self) -> PathBuf {
        match (self.runtime, self.cgroup) {
            ("crun", "v2") => crate::support::lab_root().join("opt/host/crun"),
            ("crun", _) => "/usr/bin/crun".into(),
            _ => "/usr/sbin/runc".into(),
        }
    }
}

/// A host with a real runtime.
pub struct Lab {
    pub host: Host,
    pub place: Place,
    /// What the ids of all containers begin with: v1 hierarchies are the whole host's.
    pub prefix: String,
}

impl Lab {
    pub fn new(place: Place, devices_toml: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("gpl{}x{count}", std::process::id());
        let program = place.program();
        assert!(program.is_file(), "no {}: run tests/lab/setup.sh", program.display());
        let host = Host::with_devices(devices_toml, &program);
        let made = Command::new(script("bundle.sh")).arg(host.path("template")).status().unwrap();
        assert!(made.success());
        fs::create_dir(host.path("out")).unwrap();
        Self { host, place, prefix }
    }

    /// A bundle whose process is a shell with this script. All share one read-only rootfs.
    pub fn bundle(&self, name: &str, annotations: &[(&str, &str)], shell: &str) {
        self.bundle_with(name, annotations, |spec| {
            spec["process"]["args"] = json!(["sh", "-c", format!("{PROBES}{shell}")]);
        });
    }

    pub fn bundle_with(
        &self,
        name: &str,
        annotations: &[(&str, &str)],
        edit: impl FnOnce(&mut Value),
    ) {
        let text = fs::read(self.host.path("template/config.json")).unwrap();
        let mut spec: Value = serde_json::from_slice(&text).unwrap();
        spec["root"]["path"] = json!(self.host.path("template/rootfs"));
        for (key, value) in annotations {
            spec["annotations"][*key] = json!(value);
        }
        edit(&mut spec);
        let dir = self.host.path("bundles").join(name);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("config.json"), serde_json::to_vec_pretty(&spec).unwrap()).unwrap();
    }

    pub fn config_json(&self, name: &str) -> PathBuf {
        self.host.path("bundles").join(name).join("config.json")
    }

    /// Runs a scenario; `None` where this host has no such cgroups, which CI never takes.
    #[track_caller]
    pub fn run(&self, shell: &str) -> Option<Steps> {
        let out = self.host.path("out");
        let file = self.host.path("scenario.sh");
        fs::write(&file, format!("{OWN_DEV}{PRELUDE}{shell}\nexit 0\n")).unwrap();
        let output = Command::new("timeout")
            .args(["-k", "10", "90"])
            .arg(script("cgroup.sh"))
            .args([self.place.cgroup, "sh"])
            .arg(&file)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("SHIM", SHIM)
            .env("CLI", CLI)
            .env("CONFIG", self.host.config())
            .env("ROOT", self.host.root())
            .env("RUN_DIR", self.host.run_dir())
            .env("B", self.host.path("bundles"))
            .env("OUT", &out)
            .env("P", &self.prefix)
            .env("RUNTIME", self.place.program())
            .env("CRUN", Place { runtime: "crun", ..self.place }.program())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.code() == Some(78) {
            assert!(std::env::var_os("CI").is_none(), "{text}");
            eprintln!("SKIPPED: {text}");
            return None;
        }
        let steps = Steps { dir: out };
        assert!(output.status.success(), "the scenario failed: {text}\n{}", steps.all());
        Some(steps)
    }

    pub fn id(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }
}

/// For scripts inside: what opening a node says, and making one that was not granted.
pub const PROBES: &str = r#"
try() {
    if said=$( (exec 3<>"$1") 2>&1 ); then echo "open $1: ok"; else echo "open $1: $said"; fi
}
other() { mknod /dev/other c "$1" "$2" || echo "mknod failed"; try /dev/other; rm -f /dev/other; }
"#;

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab").join(name)
}

/// What the steps of a scenario left.
pub struct Steps {
    dir: PathBuf,
}

impl Steps {
    #[track_caller]
    fn read(&self, file: &str) -> String {
        match fs::read(self.dir.join(file)) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => panic!("{file}: {error}\n{}", self.all()),
        }
    }

    /// Everything, for a message.
    pub fn all(&self) -> String {
        let mut names: Vec<_> = fs::read_dir(&self.dir).unwrap().flatten().collect();
        names.sort_by_key(std::fs::DirEntry::path);
        let mut text = String::new();
        for entry in names.iter().filter(|entry| entry.path().is_file()) {
            let bytes = fs::read(entry.path()).unwrap();
            let shown = String::from_utf8_lossy(&bytes);
            text.push_str(&format!("--- {}\n{shown}\n", entry.file_name().to_string_lossy()));
        }
        text
    }

    #[track_caller]
    pub fn out(&self, step: &str) -> String {
        self.read(&format!("{step}.out"))
    }

    #[track_caller]
    pub fn err(&self, step: &str) -> String {
        self.read(&format!("{step}.err"))
    }

    #[track_caller]
    pub fn rc(&self, step: &str) -> i32 {
        self.read(&format!("{step}.rc")).trim().parse().unwrap()
    }

    /// The step succeeded; gives what it printed.
    #[track_caller]
    pub fn ok(&self, step: &str) -> String {
        assert_eq!(self.rc(step), 0, "{step}: {}\n{}", self.err(step), self.out(step));
        self.out(step)
    }

    /// The step was refused by the shim, with this code; gives the message.
    #[track_caller]
    pub fn refused(&self, step: &str, code: &str) -> String {
        let text = self.err(step);
        assert_eq!(self.rc(step), 1, "{text}");
        assert!(text.starts_with(&format!("gpulease: {code}: ")), "{step}: {text}");
        text
    }

    /// All records at a moment, those in their grace too.
    #[track_caller]
    pub fn records(&self, moment: &str) -> Vec<Lease> {
        let dir = self.dir.join(format!("{moment}.leases"));
        let files = fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        let read = |file: fs::DirEntry| {
            serde_json::from_slice(&fs::read(file.path()).unwrap()).expect("a whole record")
        };
        files.flatten().map(read).collect()
    }

    /// What is held at a moment.
    #[track_caller]
    pub fn leases(&self, moment: &str) -> Vec<Lease> {
        self.records(moment).into_iter().filter(|l| l.state != LeaseState::Grace).collect()
    }

    /// The one lease at a moment.
    #[track_caller]
    pub fn lease(&self, moment: &str) -> Lease {
        let mut leases = self.leases(moment);
        assert_eq!(leases.len(), 1, "{moment}: {leases:?}");
        leases.pop().unwrap()
    }

    #[track_caller]
    pub fn number(&self, step: &str) -> u64 {
        self.out(step).trim().parse().unwrap()
    }
}

/// The UUIDs of a lease.
pub fn uuids(lease: &Lease) -> Vec<&str> {
    lease.devices.iter().map(|device| device.uuid.as_str()).collect()
}

/// Whether what a container printed has this line.
#[track_caller]
pub fn has_line(text: &str, line: &str) {
    assert!(text.lines().any(|l| l == line), "no line `{line}` in:\n{text}");
}

#[track_caller]
pub fn open_is(text: &str, path: &str, what: &str) {
    let begin = format!("open {path}: ");
    let found: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(&begin)).collect();
    assert!(!found.is_empty(), "{path} was not tried:\n{text}");
    assert!(found.iter().all(|said| said.contains(what)), "open {path} is not `{what}`: {found:?}");
}

/// The numbers that `ls -l` shows for a node: `10, 229`.
pub fn numbers_of(text: &str, node: &str) -> Option<(u32, u32)> {
    let line = text.lines().find(|l| l.starts_with('c') && l.ends_with(&format!(" {node}")))?;
    let mut words = line.split_whitespace().skip(4);
    let major = words.next()?.strip_suffix(',')?.parse().ok()?;
    Some((major, words.next()?.parse().ok()?))
}

/// The values of a variable in the output of `env`.
pub fn values<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect()
}

/// Every scenario with both runtimes on both versions of cgroups.
macro_rules! everywhere {
    ($($file:ident::$scenario:ident,)*) => {
        crate::lab::everywhere!(@ runc_v1 "runc" "v1": $($file::$scenario,)*);
        crate::lab::everywhere!(@ runc_v2 "runc" "v2": $($file::$scenario,)*);
        crate::lab::everywhere!(@ crun_v1 "crun" "v1": $($file::$scenario,)*);
        crate::lab::everywhere!(@ crun_v2 "crun" "v2": $($file::$scenario,)*);
    };
    (@ $place:ident $runtime:literal $cgroup:literal: $($file:ident::$scenario:ident,)*) => {
        mod $place {
            $(#[test]
            fn $scenario() {
                if super::support::is_root(concat!(stringify!($place), "::", stringify!($scenario))) {
                    super::$file::$scenario(super::Place { runtime: $runtime, cgroup: $cgroup });
                }
            })*
        }
    };
}
pub(crate) use everywhere;
