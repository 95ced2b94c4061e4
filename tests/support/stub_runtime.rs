//! A low-level runtime without containers, for tests of what the shim does around one. It keeps
//! runc's contract — state directory, pid file, hooks with the state on stdin — and is the
//! referee of the stress test: before a "container" may run, it takes one token per 100m of each
//! device that it was granted. Tokens are files made with O_EXCL, ten per device; if there are
//! not enough, somebody was granted what somebody else holds, and a file `VIOLATION` says so.
//!
//! Environment: `STUB_TOKENS` the token directory, `STUB_RECORD` a file to which each call's
//! arguments are appended, `STUB_LIFE_MS` how long a container lives (default: until killed),
//! `STUB_FAIL` a verb that fails, `STUB_NO_HOOKS` runs none,
//! `STUB_NO_STATE` keeps no state file.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test program"
)]

use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

/// The numbers of NVIDIA nodes in the built-in profiles.
const GPU_MAJOR: u32 = 1219;
const CONTROL_MINOR: u32 = 255;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|verb| verb == "init") {
        return init();
    }
    record(&args);
    let call = Call::parse(&args);
    if std::env::var("STUB_FAIL").is_ok_and(|verb| verb == call.verb) {
        eprintln!("stub-runtime: {} fails as it was told", call.verb);
        return ExitCode::from(3);
    }
    match call.verb.as_str() {
        "create" | "run" => create(&call),
        "delete" => delete(&call),
        "exec" => exec(&call),
        _ => ExitCode::SUCCESS,
    }
}

struct Call {
    verb: String,
    root: PathBuf,
    bundle: PathBuf,
    pid_file: Option<PathBuf>,
    process: Option<PathBuf>,
    id: String,
}

impl Call {
    fn parse(args: &[String]) -> Self {
        let mut call = Self {
            verb: String::new(),
            root: "/run/runc".into(),
            bundle: ".".into(),
            pid_file: None,
            process: None,
            id: String::new(),
        };
        let mut words = args.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--root" => call.root = words.next().unwrap().into(),
                "--bundle" | "-b" => call.bundle = words.next().unwrap().into(),
                "--pid-file" => call.pid_file = Some(words.next().unwrap().into()),
                "--process" => call.process = Some(words.next().unwrap().into()),
                "--log" | "--log-format" => drop(words.next()),
                option if option.starts_with('-') => {}
                _ if call.verb.is_empty() => call.verb.clone_from(word),
                _ if call.id.is_empty() => call.id.clone_from(word),
                _ => {}
            }
        }
        call
    }

    fn state_dir(&self) -> PathBuf {
        self.root.join(&self.id)
    }
}

fn record(args: &[String]) {
    if let Some(path) = std::env::var_os("STUB_RECORD") {
        let entry = json!({ "args": args, "pid": std::process::id(), "cwd": std::env::current_dir().unwrap() });
        let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        writeln!(file, "{entry}").unwrap();
    }
}

/// The container's process: nothing until it is told to go; if its runtime dies first, it ends.
fn init() -> ExitCode {
    let mut go = [0u8; 1];
    if std::io::stdin().read(&mut go).unwrap_or(0) == 0 {
        return ExitCode::FAILURE;
    }
    let life = std::env::var("STUB_LIFE_MS").ok().and_then(|ms| ms.parse().ok()).unwrap_or(600_000);
    std::thread::sleep(Duration::from_millis(life));
    ExitCode::SUCCESS
}

fn create(call: &Call) -> ExitCode {
    let config: Value =
        serde_json::from_slice(&fs::read(call.bundle.join("config.json")).unwrap()).unwrap();
    let tokens = std::env::var_os("STUB_TOKENS").map(PathBuf::from);
    let mut held = Vec::new();
    if let Some(dir) = &tokens {
        match take_tokens(dir, &config, &call.id) {
            Ok(taken) => held = taken,
            Err(text) => {
                fs::write(dir.join("VIOLATION"), &text).unwrap();
                eprintln!("stub-runtime: {text}");
                return ExitCode::from(9);
            }
        }
    }
    let mut init = Command::new(std::env::current_exe().unwrap())
        .arg("init")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    fs::create_dir_all(call.state_dir()).unwrap();
    let state = json!({
        "id": call.id, "bundle": fs::canonicalize(&call.bundle).unwrap(),
        "init_process_pid": init.id(), "init_process_start": start_time(init.id()),
    });
    if std::env::var_os("STUB_NO_STATE").is_none() {
        fs::write(call.state_dir().join("state.json"), state.to_string()).unwrap();
    }
    let bundle = fs::canonicalize(&call.bundle).unwrap();
    if !run_hooks(&config, &bundle, "createRuntime", call, Some(init.id())) {
        let _ = init.kill();
        let _ = init.wait();
        fs::remove_dir_all(call.state_dir()).unwrap();
        return ExitCode::FAILURE;
    }
    if let Some(dir) = &tokens {
        hand_over(dir, &held, init.id());
    }
    if let Some(path) = &call.pid_file {
        fs::write(path, init.id().to_string()).unwrap();
    }
    go(&mut init);
    ExitCode::SUCCESS
}

fn go(init: &mut Child) {
    init.stdin.take().unwrap().write_all(b"g").unwrap();
}

/// Says what it was given to execute.
fn exec(call: &Call) -> ExitCode {
    if let Some(path) = &call.process {
        std::io::stdout().write_all(&fs::read(path).unwrap()).unwrap();
    }
    ExitCode::SUCCESS
}

fn delete(call: &Call) -> ExitCode {
    let Ok(text) = fs::read(call.state_dir().join("state.json")) else { return ExitCode::SUCCESS };
    let state: Value = serde_json::from_slice(&text).unwrap();
    let pid = u32::try_from(state["init_process_pid"].as_u64().unwrap()).unwrap();
    if start_time(pid) == state["init_process_start"].as_u64() {
        let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        while start_time(pid) == state["init_process_start"].as_u64() && !is_zombie(pid) {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    fs::remove_dir_all(call.state_dir()).unwrap();
    let bundle = Path::new(state["bundle"].as_str().unwrap());
    if let Ok(bytes) = fs::read(bundle.join("config.json")) {
        // As runtime-spec says: a warning, and the delete goes on.
        if !run_hooks(&serde_json::from_slice(&bytes).unwrap(), bundle, "poststop", call, None) {
            eprintln!("stub-runtime: a poststop hook failed");
        }
    }
    ExitCode::SUCCESS
}

/// Runs a stage's hooks as runtime-spec says: exactly this environment, the state on stdin.
fn run_hooks(config: &Value, bundle: &Path, stage: &str, call: &Call, pid: Option<u32>) -> bool {
    if std::env::var_os("STUB_NO_HOOKS").is_some() {
        return true;
    }
    let Some(hooks) = config["hooks"][stage].as_array() else { return true };
    hooks.iter().all(|hook| {
        let words = |key: &str| -> Vec<String> {
            hook[key].as_array().map_or_else(Vec::new, |list| {
                list.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
            })
        };
        let env = words("env");
        let mut child = Command::new(hook["path"].as_str().unwrap())
            .args(words("args").iter().skip(1))
            .env_clear()
            .envs(env.iter().filter_map(|pair| pair.split_once('=')))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let state = json!({
            "ociVersion": "1.0.2", "id": call.id, "pid": pid, "status": "creating",
            "bundle": bundle,
        });
        let _ = child.stdin.take().unwrap().write_all(state.to_string().as_bytes());
        child.wait().unwrap().success()
    })
}

/// Field 22 of stat, or nothing if there is no such process.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

fn is_zombie(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
    })
}

/// One token per 100m of each device in the grant that the shim wrote into the annotations.
fn take_tokens(dir: &Path, config: &Value, id: &str) -> Result<Vec<PathBuf>, String> {
    let list = |key: &str| -> Vec<String> {
        let value = config["annotations"][format!("gpulease.granted/{key}")].as_str();
        value.map_or_else(Vec::new, |value| value.split(',').map(str::to_owned).collect())
    };
    // The word of the annotations must be the deed: as many GPU nodes, and a rule for each.
    let gpus = |list: &Value| {
        let entries = list.as_array().into_iter().flatten();
        entries.filter(|e| e["major"] == GPU_MAJOR && e["minor"] != CONTROL_MINOR).count()
    };
    let granted = list("devices").len();
    for part in [&config["linux"]["devices"], &config["linux"]["resources"]["devices"]] {
        if gpus(part) != granted {
            return Err(format!("{id} was granted {granted} devices and sees {}", gpus(part)));
        }
    }
    let guard = File::create(dir.join(".referee")).unwrap();
    guard.lock().unwrap();
    let mut held = Vec::new();
    for (device, compute) in list("devices").iter().zip(list("compute")) {
        let milli: usize = compute.strip_suffix('m').unwrap().parse().unwrap();
        let wanted = held.len() + milli.div_ceil(100);
        for slot in 0..10 {
            let path = dir.join(format!("{device}.{slot}"));
            if held.len() < wanted && take(&path) {
                held.push(path);
            }
        }
        if held.len() < wanted {
            return Err(format!("{id} was granted {compute} of {device}, which is not free"));
        }
    }
    Ok(held)
}

fn take(path: &Path) -> bool {
    let mine = holder_text(std::process::id());
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => {
            file.write_all(mine.as_bytes()).unwrap();
            true
        }
        Err(_) => {
            // A dead holder's token is free: it died with SIGKILL and could not give it back.
            let text = fs::read_to_string(path).unwrap();
            let mut words = text.split_whitespace();
            let pid = words.next().and_then(|pid| pid.parse().ok()).unwrap_or(0);
            let start = words.next().and_then(|start| start.parse().ok());
            let alive = start.is_some() && start_time(pid) == start && !is_zombie(pid);
            if !alive {
                fs::write(path, mine).unwrap();
            }
            !alive
        }
    }
}

fn holder_text(pid: u32) -> String {
    format!("{pid} {}", start_time(pid).unwrap_or(0))
}

fn hand_over(dir: &Path, held: &[PathBuf], pid: u32) {
    let guard = File::create(dir.join(".referee")).unwrap();
    guard.lock().unwrap();
    for path in held {
        fs::write(path, holder_text(pid)).unwrap();
    }
}
