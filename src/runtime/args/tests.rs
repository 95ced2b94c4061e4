use super::*;
use proptest::strategy::Strategy;

fn words(line: &str) -> Words {
    parse(line.split_whitespace().map(OsString::from))
}

fn runc(line: &str) -> Invocation {
    words(line).read(RuntimeKind::Runc)
}

fn crun(line: &str) -> Invocation {
    words(line).read(RuntimeKind::Crun)
}

/// Bundle, configuration and container, of which the runtime is sure.
#[track_caller]
fn meant(call: &Invocation) -> (&str, &str, &str) {
    assert_eq!(call.certainty, Certainty::Sure, "{call:?}");
    let config = call.config_file.as_ref().map(|given| given.path.as_path());
    let text = |path: Option<&Path>| path.map_or("", |path| path.to_str().unwrap()).to_owned();
    let (bundle, config) = (text(call.bundle.as_deref()), text(config));
    (bundle.leak(), config.leak(), call.id.as_deref().unwrap_or_default())
}

#[test]
fn containerd_creates() {
    for kind in [RuntimeKind::Runc, RuntimeKind::Crun] {
        let call = words(
            "--root /var/run/docker/runtime-runc/moby --log /b/log.json --log-format json create \
             --bundle /b --pid-file /b/init.pid --console-socket /tmp/s abc",
        )
        .read(kind);
        assert_eq!((call.verb, meant(&call)), (Verb::Create, ("/b", "", "abc")));
        assert_eq!(call.root.as_deref(), Some("/var/run/docker/runtime-runc/moby"));
        assert_eq!(call.log, Some("/b/log.json".into()));
        assert!(call.log_json);
        assert_eq!(call.pid_file, Some("/b/init.pid".into()));
    }
}

#[test]
fn our_option_is_taken_out_and_nothing_else() {
    let line = "--gpulease-config /etc/x.toml --systemd-cgroup --root=/r delete --force create";
    let call = words(line);
    assert_eq!(call.config, Some("/etc/x.toml".into()));
    let read = call.read(RuntimeKind::Runc);
    assert_eq!((read.verb, read.id.as_deref()), (Verb::Delete, Some("create")));
    let rest: Vec<_> = call.forwarded.iter().map(|a| a.to_string_lossy()).collect();
    assert_eq!(rest.join(" "), "--systemd-cgroup --root=/r delete --force create");
    assert_eq!(words("--gpulease-config=/y create c").config, Some("/y".into()));
    assert_eq!(words("--root /r --gpulease-config /y create c").config, Some("/y".into()));
    let theirs = words("exec c prog --gpulease-config /z");
    assert_eq!((theirs.config, theirs.forwarded.len()), (None, 5));
    assert_eq!(words("-- --gpulease-config /z").config, None);
}

#[test]
fn exec_stops_at_the_id() {
    for kind in [RuntimeKind::Runc, RuntimeKind::Crun] {
        let line = "exec --process /tmp/p --detach --pid-file /f -u 1:2 c1 --process /other";
        let call = words(line).read(kind);
        assert_eq!(call.certainty, Certainty::Sure);
        assert_eq!(call.process.map(|given| given.path), Some("/tmp/p".into()));
        assert_eq!(call.id.as_deref(), Some("c1"));
    }
}

#[test]
fn every_spelling_of_runcs_bundle() {
    for line in [
        "run -b /x c",
        "run c -b /x",
        "run --bundle=/x c",
        "run -bundle /x c",
        "run --b=/x c",
        "run c --bundle /x",
        "run c --detach -b /x",
        "run --help=false -b /x c",
        "run -b /x --h=0 -- c",
        "--help=F -root /r -- run --bundle /y --bundle /x c",
    ] {
        assert_eq!(meant(&runc(line)), ("/x", "", "c"), "{line}");
    }
    assert_eq!(meant(&runc("create create")).2, "create");
    assert_eq!(meant(&runc("create -- -c")).2, "-c");
    assert_eq!(meant(&runc("create --config other.json c")).1, "other.json");
}

#[test]
fn every_spelling_of_cruns_bundle() {
    for line in [
        "run -b /x c",
        "run -b/x c",
        "run -db/x c",
        "run -db /x c",
        "run --bundl /x c",
        "run --b=/x c",
        "run --bundle /x -- c",
        "--root /r --debu -- run --detac -b/y -b /x c",
        "run --prog x --bundle=/x c",
    ] {
        assert_eq!(meant(&crun(line)), ("/x", "", "c"), "{line}");
    }
    assert_eq!(meant(&crun("run -b=/x c")).0, "=/x");
    assert_eq!(meant(&crun("run -b /x -fo.json c")).1, "o.json");
    assert_eq!(meant(&crun("run --conf=o.json -b /x c")).1, "o.json");
    assert_eq!(meant(&crun("run -- -c")).2, "-c");
}

#[test]
fn what_the_runtime_refuses_is_left_to_it() {
    for line in [
        "create",
        "run -b /x",
        "run c d",
        "run --help=maybe -b /x c",
        "run c -- --bundle /x",
        "run --bundle",
        "run ---bundle=/x c",
        "exec",
    ] {
        assert_eq!(runc(line).certainty, Certainty::Wrong, "{line}");
    }
    for line in ["run c -b /x", "run -bundle /x c", "run --detach=true -b /x c", "run -b", "exec c"]
    {
        assert_eq!(crun(line).certainty, Certainty::Wrong, "{line}");
    }
}

#[test]
fn unknown_options_are_tried_out() {
    for kind in [RuntimeKind::Runc, RuntimeKind::Crun] {
        let call = |line: &str| words(line).read(kind);
        // There is but one way to read these that leaves one container.
        for line in [
            "run --new -b /x c",
            "run --new=1 -b /x c",
            "run --bundle /x --new c",
            "run --bundle /x --new value c",
            "--new=1 run -b /x c",
            "--new run -b /x c",
        ] {
            let call = call(line);
            let unsure = matches!(call.certainty, Certainty::Unsure(_));
            assert!(unsure || call.bundle == Some("/x".into()), "{line}: {call:?}");
        }
        assert_eq!(meant(&call("run --new=1 -b /x c")), ("/x", "", "c"));
        assert_eq!(meant(&call("run --bundle /x --new c")), ("/x", "", "c"));
        assert_eq!(meant(&call("run --bundle /x --new value c")), ("/x", "", "c"));
        for line in ["--new run -b /x run", "run --one --two --three --four --five c", "run -x c"] {
            let call = call(line);
            assert!(
                matches!(&call.certainty, Certainty::Unsure(why) if why.contains("not known")),
                "{line}: {call:?}"
            );
            assert_eq!(call.verb, Verb::Run, "{line}");
        }
        // Nothing hangs on it here.
        assert_eq!(call("state --new c").verb, Verb::Other);
    }
    // Debian's runc makes a container of the name `--new` of this.
    assert!(matches!(runc("run --new --detach --").certainty, Certainty::Unsure(_)));
    let ambiguous = crun("run --con x -b /x c");
    assert!(matches!(&ambiguous.certainty, Certainty::Unsure(why) if why.contains("`--con`")));
}

#[test]
fn of_the_uncertain_all_that_may_be_meant_is_known() {
    let likely = |line: &str| {
        let call = runc(line);
        let texts = |paths: Vec<PathBuf>| {
            paths.iter().map(|path| path.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        (texts(call.likely_bundles()), texts(call.likely_configs()))
    };
    for line in ["run -b/x c", "run --bundl=/x c", "run -zb /x c", "run --bu /x c", "run -b=/x c"] {
        let bundles = likely(line).0;
        assert!(bundles.contains(&"/x".to_owned()) && bundles.contains(&String::new()), "{line}");
    }
    assert!(likely("run --conf /c -zf/d c").1.contains(&"/c".to_owned()));
    assert!(likely("run --conf /c -zf/d c").1.contains(&"/d".to_owned()));
    assert!(runc("exec -zp/f c").may_have_process() && !runc("exec -zd c").may_have_process());
    assert!(runc("exec -zp/f c x").likely_ids().any(|id| id == "c"));
}

#[test]
fn a_copy_takes_the_place_of_what_was_named() {
    let copy = Path::new("/proc/self/fd/9");
    let with = |call: Invocation| {
        let given = call.process.as_ref().or(call.config_file.as_ref()).unwrap();
        let words = call.with(given, copy);
        words.iter().map(|word| word.to_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    for (line, expected) in [
        ("exec --process /p c", "exec --process /proc/self/fd/9 c"),
        ("exec -process=/p c", "exec -process=/proc/self/fd/9 c"),
        ("exec -p /q -p /p c", "exec -p /q -p /proc/self/fd/9 c"),
    ] {
        assert_eq!(with(runc(line)), expected);
    }
    for (line, expected) in [
        ("exec -p/p c", "exec -p/proc/self/fd/9 c"),
        ("exec -dp/p c", "exec -dp/proc/self/fd/9 c"),
        ("run -b /x --conf=/p c", "run -b /x --conf=/proc/self/fd/9 c"),
        ("--root /r run -f /p c", "--root /r run -f /proc/self/fd/9 c"),
    ] {
        assert_eq!(with(crun(line)), expected);
    }
    let words = crun("--root /r run -b /x c").with_config(copy);
    assert_eq!(words.join(OsStr::new(" ")), "--root /r run --config=/proc/self/fd/9 -b /x c");
}

#[test]
fn a_path_may_be_any_bytes() {
    let odd = OsStr::from_bytes(b"/b\xff");
    let both = OsStr::from_bytes(b"--bundle=/b\xff");
    let run = OsStr::new("run");
    for args in [vec![run, OsStr::new("-b"), odd, run], vec![run, both, run]] {
        let words = parse(args.into_iter().map(OsStr::to_owned));
        for kind in [RuntimeKind::Runc, RuntimeKind::Crun] {
            assert_eq!(words.read(kind).bundle, Some(odd.into()));
        }
    }
}

#[test]
fn verbs_without_a_container() {
    assert_eq!(runc("--version").verb, Verb::Version);
    assert_eq!(runc("-v").verb, Verb::Version);
    assert_eq!(crun("-V").verb, Verb::Version);
    assert_eq!(runc("--version create c").verb, Verb::Version);
    for call in [runc, crun] {
        assert_eq!(call("features").verb, Verb::None);
        assert_eq!(call("--root /create state x").verb, Verb::Other);
        assert_eq!(call("--root create list").verb, Verb::None);
        assert_eq!(call("ps --format json x").id.as_deref(), Some("x"));
        assert_eq!(call("ps -f json x").id.as_deref(), Some("x"));
        assert_eq!(call("update --memory 100M x").id.as_deref(), Some("x"));
        assert_eq!(call("update -r - x").id.as_deref(), Some("x"));
        assert_eq!(call("kill -a x 9").id.as_deref(), Some("x"));
        assert_eq!(call("create --help x").verb, Verb::None);
        assert_eq!(call("exec x prog --help").verb, Verb::Exec);
        assert_eq!(call("").verb, Verb::None);
    }
    assert_eq!(crun("create -? x").verb, Verb::None);
    assert_eq!(crun("create --usag x").verb, Verb::None);
}

#[test]
fn cruns_log_need_be_no_file() {
    let log = |line: &str| crun(line).log;
    assert_eq!(log("--log file:/x state c"), Some("/x".into()));
    assert_eq!(log("--log /x state c"), Some("/x".into()));
    assert_eq!(log("--log journald:c state c"), None);
    assert_eq!(runc("--log file:/x state c").log, Some("file:/x".into()));
}

proptest::proptest! {
    /// Whatever a version of a runtime takes for them is among what is looked at in doubt.
    #[test]
    fn what_is_meant_is_among_what_may_be(line in line()) {
        let words = parse(line.iter().map(OsString::from));
        let all = ArgWord::all(&words.forwarded);
        let call = words.read(RuntimeKind::Runc);
        let mut readings = Readings::default();
        readings.of(|parsed, guess| argp::read(&all, parsed, guess));
        for flavor in go::FLAVORS {
            readings.of(|parsed, guess| go::read(&all, flavor, parsed, guess));
        }
        for parsed in readings.valid {
            match parsed.effective_verb() {
                Verb::Create | Verb::Run | Verb::Restore => {
                    let bundle = parsed.bundle.unwrap_or_default();
                    assert!(call.likely_bundles().contains(&bundle), "{line:?}: {bundle:?}");
                    let config = parsed.config.map(|given| given.path);
                    let likely = call.likely_configs();
                    let is_empty = |path: &PathBuf| path.as_os_str().is_empty();
                    assert!(config.is_none_or(|path| is_empty(&path) || likely.contains(&path)), "{line:?}");
                }
                Verb::Exec => {
                    let process = parsed.process.filter(|given| !given.path.as_os_str().is_empty());
                    assert!(process.is_none() || call.may_have_process(), "{line:?}");
                    let id = parsed.id.unwrap_or_default();
                    let id = id.to_str().unwrap().trim();
                    assert!(id.is_empty() || call.likely_ids().any(|likely| likely == id), "{line:?}");
                }
                _ => {}
            }
        }
    }
}

fn line() -> impl Strategy<Value = Vec<String>> {
    const WORDS: &[&str] = &[
        "--root",
        "--debug",
        "run",
        "create",
        "exec",
        "c",
        "--",
        "-",
        "",
        "-b",
        "-b/x",
        "--bundle",
        "--bundle=/x",
        "--bund",
        "-bundle=/x",
        " --bundle=/x ",
        "-db",
        "--config",
        "-f/x",
        "--conf=/x",
        "-p",
        "-p/x",
        "-tp",
        "--process",
        "-process=/x",
        "--new",
        "--new=1",
        "-e",
        "--detach",
        "-d",
        "/x",
        "--help=false",
    ];
    proptest::collection::vec(proptest::sample::select(WORDS), 0..9)
        .prop_map(|words| words.into_iter().map(str::to_owned).collect())
}

#[test]
fn an_update_names_its_resources() {
    for (line, path) in [
        ("update --resources - c", "-"),
        ("update --resources=/r.json c", "/r.json"),
        ("update -r/r.json c", "/r.json"),
        ("update --res /r.json c", "/r.json"),
    ] {
        let call = crun(line);
        assert_eq!((call.verb, call.certainty), (Verb::Update, Certainty::Sure), "{line}");
        assert_eq!(call.resources.unwrap().path, Path::new(path), "{line}");
        assert_eq!(call.id.as_deref(), Some("c"), "{line}");
    }
}
