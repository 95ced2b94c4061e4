use super::reading::of_bytes;
use super::settings::MpsConfig;
use super::*;
use crate::failure::Failure;
use crate::model::code::Code;
use crate::paths::Paths;
use crate::request::policy::{Busy, Injected, Privileged, is_admissible};
use crate::request::{self, Input, Policy, RequestError, Strategy};
use crate::sys::checked::FileError;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

const EXAMPLE: &str = include_str!("../../packaging/config.toml");

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::default().with_text(text, Path::new("/etc/gpulease/config.toml"))
}

fn message(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

/// The example with its settings (`#key = …`, `#[table]`; prose has a space after the `#`) in force.
fn uncommented() -> String {
    EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => rest,
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// The keys that the parser says it expects where it meets an unknown one.
fn expected_keys(text: &str) -> Vec<String> {
    let message = message(text);
    let (_, list) = message.split_once("expected one of ").unwrap();
    list.split(", ").map(|key| key.trim_matches('`').to_owned()).collect()
}

#[test]
fn empty_text_means_the_defaults() {
    assert_eq!(parse("").unwrap(), Config::default());
    assert_eq!(parse("[policy]\n").unwrap(), Config::default());
    assert_eq!(Config::default().run_dir, Path::new("/run/gpulease"));
    assert_eq!(Config::default().devices_file, Path::new("/etc/gpulease/devices.toml"));
}

#[test]
fn every_key_is_read() {
    let config = parse(
        r#"
        runtime = "/usr/bin/crun"
        run_dir = "/run/other"
        devices_file = "/srv/devices.toml"
        sources = ["static", "intel"]
        driver = "none"
        driver_root = "/run/nvidia/driver"
        probe_timeout = "5s"
        hook = "/opt/gpulease-hook"
        [policy]
        strategy = "worst-fit"
        accept_env = ["NVIDIA_VISIBLE_DEVICES", "AMD_VISIBLE_DEVICES", "GPULEASE_*"]
        injected = "refuse"
        busy = "ignore"
        privileged = "refuse"
        release_grace = "1m 30s"
        max_wait = "0"
        [mps]
        control = "/opt/mps/nvidia-cuda-mps-control"
        daemon = "lease"
        compute_mode = "keep"
        start_timeout = "3s"
        stop_grace = "0"
        "#,
    );
    let expected = Config {
        runtime: Some("/usr/bin/crun".into()),
        run_dir: "/run/other".into(),
        devices_file: "/srv/devices.toml".into(),
        sources: [Source::Static, Source::Intel].into(),
        driver: DriverSetting::None,
        driver_root: "/run/nvidia/driver".into(),
        probe_timeout: Duration::from_secs(5),
        hook: Some("/opt/gpulease-hook".into()),
        policy: Policy {
            strategy: Strategy::WorstFit,
            accept_env: vec![
                "NVIDIA_VISIBLE_DEVICES".into(),
                "AMD_VISIBLE_DEVICES".into(),
                "GPULEASE_*".into(),
            ],
            injected: Injected::Refuse,
            busy: Busy::Ignore,
            privileged: Privileged::Refuse,
            release_grace: Duration::from_secs(90),
            max_wait: Duration::ZERO,
        },
        mps: MpsConfig {
            control: Some("/opt/mps/nvidia-cuda-mps-control".into()),
            daemon: MpsDaemon::Lease,
            compute_mode: ComputeMode::Keep,
            start_timeout: Duration::from_secs(3),
            stop_grace: Duration::ZERO,
        },
    };
    assert_eq!(config.unwrap(), expected);
}

#[test]
fn errors_name_place_key_value_and_what_is_allowed() {
    let table: &[(&str, &[&str])] = &[
        ("runtim = \"/x\"", &["line 1, column 1", "`runtim`", "`runtime`", "`devices_file`"]),
        ("\n[policy]\nfoo = 1", &["line 3, column 1", "`policy`", "`foo`", "`strategy`"]),
        ("runtime = 5", &["line 1, column 11", "`runtime`", "`5`", "a string"]),
        ("runtime = \"runc\"", &["`runtime`", "`runc`", "not absolute"]),
        ("runtime = \"\"", &["`runtime`", "is empty"]),
        ("run_dir = \"/a/../b\"", &["line 1, column 11", "`run_dir`", "`/a/../b`", "`..`"]),
        ("devices_file = \"/a\\nb\"", &["`devices_file`", "control character"]),
        ("hook = true", &["`hook`", "`true`", "a string"]),
        ("hook = \"hook\"", &["`hook`", "not absolute"]),
        ("hook = \"/opt/hook\"", &["line 1, column 8", "`hook`", "`/opt/hook`", "`gpulease-hook`"]),
        ("driver = \"foo\"", &["`driver`", "`foo`", "`auto`", "`chain`"]),
        ("driver_root = \"drv\"", &["`driver_root`", "not absolute"]),
        ("sources = [\"nvml\"]", &["`sources`", "`nvml`", "`nvidia`", "`intel`"]),
        ("probe_timeout = \"0\"", &["`probe_timeout`", "`0`", "`100ms` to `60s`"]),
        ("probe_timeout = \"2m\"", &["`probe_timeout`", "`2m`", "`100ms` to `60s`"]),
        ("[policy]\nbusy = \"x\"", &["`policy.busy`", "`x`", "`avoid`"]),
        ("policy = 1", &["line 1, column 10", "`policy`", "`1`", "a table"]),
        ("[[mps]]", &["line 1, column 1", "`mps`", "a table"]),
        ("[mps]\nfoo = 1", &["line 2, column 1", "`mps`", "`foo`", "`control`, `daemon`"]),
        ("[mps]\ndaemon = 3", &["line 2, column 10", "`mps.daemon`", "`3`", "a string"]),
        ("[mps]\ndaemon = { lease = {} }", &["line 2, column 10", "`mps.daemon`", "a string"]),
        ("[mps]\nstart_timeout = \"1h\"", &["line 2, column 17", "`mps.start_timeout`", "`1h`"]),
        ("mps.compute_mode = \"x\"", &["`mps.compute_mode`", "`x`", "`exclusive-process`"]),
        (
            "[policy]\nstrategy = \"fifo\"",
            &["line 2, column 12", "`policy.strategy`", "`best-fit`"],
        ),
        (
            "[policy]\nstrategy = \"round-robin\"",
            &["line 2, column 12", "`round-robin`, which is not supported yet", "`worst-fit`"],
        ),
        ("[policy]\ninjected = \"x\"", &["`policy.injected`", "`x`", "`adopt`"]),
        ("[policy]\nprivileged = \"x\"", &["`policy.privileged`", "`x`", "`whole`"]),
        ("[policy]\naccept_env = \"GPULEASE_*\"", &["`policy.accept_env`", "a sequence"]),
        ("[policy]\naccept_env = [\"GPULEASE_*\", 4]", &["line 2, column 29", "`4`", "a string"]),
        (
            "[policy]\naccept_env = [\"PATH\"]",
            &["line 2, column 14", "`policy.accept_env", "`PATH`", "`GPULEASE_*`"],
        ),
        ("[policy]\nrelease_grace = 10", &["`policy.release_grace`", "`10`", "a string"]),
        ("[policy]\nrelease_grace = \"10\"", &["`policy.release_grace`", "`10`", "`10s`"]),
        ("[policy]\nmax_wait = \"8days\"", &["`policy.max_wait`", "`8days`", "at most"]),
        ("[policy]\nmax_wait = \"99999999999999999999s\"", &["`policy.max_wait`"]),
        ("runtime = ", &["line 1, column 11"]),
        ("a = 1\na = 2", &["line 2", "duplicate"]),
    ];
    for (text, parts) in table {
        let error = parse(text).unwrap_err();
        assert_eq!(Failure::from(&error).code, Code::BadConfig);
        let message = error.to_string();
        assert!(message.starts_with("in `/etc/gpulease/config.toml`, "), "{message}");
        assert!(!message.contains('\n'), "{message}");
        for part in *parts {
            assert!(message.contains(part), "no {part} in: {message}");
        }
    }
}

#[test]
fn a_value_is_read_as_the_same_of_a_request_is() {
    let asked = |key: &str, value: &str| {
        let annotations = BTreeMap::from([(format!("gpulease/{key}"), value.to_owned())]);
        let input = Input { annotations: &annotations, env: &[], container_name: None };
        let policy = Policy { max_wait: Duration::MAX, ..Policy::default() };
        request::parse(&input, &policy).map(|request| request.unwrap())
    };
    for word in [
        "first-fit",
        "best-fit",
        "worst-fit",
        "minimize_fragmentation",
        "distributed_small_instances",
        "round-robin",
        "load-balanced",
        "hybrid_dynamic",
        "Best-fit",
        "fifo",
        "",
    ] {
        let configured = parse(&format!("[policy]\nstrategy = \"{word}\""));
        let configured = configured.ok().map(|config| config.policy.strategy);
        let asked = asked("strategy", word).ok().map(|request| request.strategy);
        assert_eq!(configured, asked, "{word}");
    }
    for text in ["0", " 0", "0s", "30s", "1h 30m", "500ms", "5", "-1s", "1 fortnight", "all", ""] {
        let configured = parse(&format!("[policy]\nmax_wait = \"{text}\"")).is_ok();
        let wrong = |error: RequestError| error.code == Code::BadRequest;
        assert_eq!(configured, !asked("wait", text).is_err_and(wrong), "{text}");
    }
    for name in ["NVIDIA_VISIBLE_DEVICES", "AMD_VISIBLE_DEVICES", "GPULEASE_*", "PATH", "GPULEASE"]
    {
        let configured = parse(&format!("[policy]\naccept_env = [\"{name}\"]")).is_ok();
        assert_eq!(configured, is_admissible(name), "{name}");
    }
}

#[test]
fn every_driver_is_known() {
    let all = [
        DriverSetting::Auto,
        DriverSetting::None,
        DriverSetting::Native,
        DriverSetting::Cdi,
        DriverSetting::Chain,
    ];
    for driver in all {
        assert_eq!(parse(&format!("driver = \"{driver}\"")).unwrap().driver, driver);
    }
}

#[test]
fn the_example_shows_every_key_and_its_default() {
    assert_eq!(parse(EXAMPLE).unwrap(), Config::default());
    let config = parse(&uncommented()).unwrap();
    // The three that have no fixed default show a path instead.
    assert!(config.runtime.is_some() && config.hook.is_some() && config.mps.control.is_some());
    let mps = MpsConfig { control: None, ..config.mps.clone() };
    assert_eq!(Config { runtime: None, hook: None, mps, ..config }, Config::default());

    let top = expected_keys("zzz = 1");
    let policy = expected_keys("[policy]\nzzz = 1");
    let mps = expected_keys("[mps]\nzzz = 1");
    assert_eq!((top.len(), policy.len(), mps.len()), (10, 7, 5));
    let table: toml::Table = uncommented().parse().unwrap();
    for key in &top {
        assert!(table.contains_key(key), "{key}");
    }
    for (name, keys) in [("policy", &policy), ("mps", &mps)] {
        let missing = keys.iter().find(|key| table[name].get(key).is_none());
        assert_eq!(missing, None, "{name}");
    }
}

fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("config.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    (root, path)
}

#[test]
fn loading_files() {
    let (root, path) = file("runtime = \"/usr/bin/crun\"", 0o644);
    assert_eq!(look(&path, true).config.unwrap().runtime, Some("/usr/bin/crun".into()));
    let absent = root.path().join("absent.toml");
    let error = look(&absent, true).config.unwrap_err();
    assert!(matches!(error, ConfigError::Missing { .. }));
    assert!(error.to_string().contains("absent.toml"));

    let (_root, path) = file("#", 0o666);
    let error = look(&path, true).config.unwrap_err();
    assert!(matches!(error, ConfigError::File(FileError::Insecure { .. })), "{error:?}");
    let (_root, path) = file("", 0o644);
    fs::write(&path, b"# \xff").unwrap();
    assert!(matches!(look(&path, true).config, Err(ConfigError::NotText { offset: 2, .. })));
}

#[test]
fn roots_move_the_defaults() {
    let paths = Paths { etc: "/fake/etc".into(), run: "/fake/run".into(), ..Paths::default() };
    let config = Config::of(&paths);
    assert_eq!(config.run_dir, Path::new("/fake/run"));
    assert_eq!(config.devices_file, Path::new("/fake/etc/devices.toml"));
    let text = "[policy]\nmax_wait = \"1h\"";
    let config = config.with_text(text, Path::new("config.toml")).unwrap();
    assert_eq!(config.run_dir, Path::new("/fake/run"));
    assert_eq!(config.policy.max_wait, Duration::from_secs(3600));
}

fn reading(text: &[u8]) -> ConfigReading {
    of_bytes(text, Path::new("/etc/gpulease/config.toml"))
}

#[test]
fn a_mistake_elsewhere_leaves_the_runtime_known() {
    let read = |text: &str| {
        let reading = reading(text.as_bytes());
        assert!(reading.config.is_err(), "{text}");
        (reading.runtime, reading.run_dir, reading.keys)
    };
    let crun = Some(PathBuf::from("/usr/bin/crun"));
    let wrong = "runtime = \"/usr/bin/crun\"\nrun_dir = \"/r\"\ntypo = 1\n[policy]\nstrategy = 3";
    assert_eq!(read(wrong), (crun.clone(), Some("/r".into()), EarlyKeys::Read));
    assert_eq!(read("run_dir = \"r\""), (None, None, EarlyKeys::Read));
    assert_eq!(read("runtime = \"/usr/bin/crun\"\noops"), (None, None, EarlyKeys::Hidden));
    assert_eq!(read("runtime = \"crun\"").2, EarlyKeys::Hidden);
    assert_eq!(read("runtime = 1").2, EarlyKeys::Hidden);
    assert_eq!(reading(b"\xff").keys, EarlyKeys::Hidden);
    let sound = reading(b"driver = \"chain\"\nruntime = \"/usr/bin/crun\"");
    assert_eq!((sound.runtime, sound.keys), (crun, EarlyKeys::Read));
    assert_eq!(sound.run_dir, Some(Config::default().run_dir), "what is not there is the default");
}

#[test]
fn a_file_that_is_not_safe_or_not_there_says_nothing() {
    let (root, path) = file("runtime = \"/usr/bin/crun\"", 0o666);
    let read = |path: &Path| {
        let reading = look(path, true);
        assert!(reading.config.is_err(), "{}", path.display());
        (reading.runtime, reading.keys)
    };
    assert_eq!(read(&path), (None, EarlyKeys::Hidden));
    assert_eq!(read(root.path()), (None, EarlyKeys::Hidden));
    assert_eq!(read(&root.path().join("absent")), (None, EarlyKeys::Missing));
    assert_eq!(read(&path.join("below a file")), (None, EarlyKeys::Hidden));
}

#[test]
fn an_empty_file_is_not_the_defaults() {
    for text in ["", " \n\n"] {
        let reading = reading(text.as_bytes());
        assert!(matches!(reading.config, Err(ConfigError::Empty { .. })), "{text:?}");
        assert_eq!((reading.run_dir, reading.keys), (None, EarlyKeys::Hidden));
    }
    assert_eq!(reading(b"# all of it as it is").config.unwrap(), Config::default());
}

#[test]
fn a_file_that_is_being_written_is_not_gone_by() {
    let (_root, path) = file("run_dir = \"/run/a\"\n", 0o644);
    let first = look(&path, true);
    first.settle(&path).unwrap();
    // In place, as an editor or a deployment does: the same file, with more in it.
    fs::write(&path, "run_dir = \"/run/a\"\n[policy]\ninjected = \"refuse\"\n").unwrap();
    assert!(matches!(first.settle(&path), Err(ConfigError::Unsettled { .. })));
    let second = look(&path, true);
    second.settle(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(matches!(second.settle(&path), Err(ConfigError::Unsettled { .. })));
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = reading(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        if let Err(error) = parse(&text) {
            prop_assert!(!error.to_string().chars().any(char::is_control));
        }
    }

    #[test]
    fn a_broken_example_never_panics(at in 0usize..4000, junk in "[\"\\[\\]={}#.\\PC]{0,4}") {
        let mut text: Vec<char> = uncommented().chars().collect();
        let at = at % text.len();
        text.splice(at..at, junk.chars());
        let text: String = text.into_iter().collect();
        let _ = reading(text.as_bytes());
        if let Err(error) = parse(&text) {
            prop_assert!(!error.to_string().chars().any(char::is_control));
        }
    }
}
