//! What the caller names by path is read and never written: whatever it is, and with a lease or
//! without one.

use super::lab::{LOOP, Lab, Place, REAL, has_line, values};

/// Every way to name a file, for a container that is leased and for one that is not. `file` is
/// regular, `link` leads to it, `place` is a directory on a read-only file system.
const EXECS: &str = r#"
cat >"$OUT/file.json" <<'JSON'
{"terminal":false,"user":{"uid":0,"gid":0},"cwd":"/","noNewPrivileges":true,
 "args":["env"],"env":["PATH=/bin","NVIDIA_VISIBLE_DEVICES=all","KEPT=1"]}
JSON
cp -p "$OUT/file.json" "$OUT/before"
ln -s file.json "$OUT/link.json"
mkdir "$OUT/.place"
mount -t tmpfs none "$OUT/.place"
cp "$OUT/file.json" "$OUT/.place/file.json"
mount -o remount,ro "$OUT/.place"
mkfifo "$OUT/.fifo"
for name in web bare; do
    step "$name-file" gl exec --process "$OUT/file.json" "$P-$name"
    step "$name-equals" gl exec "--process=$OUT/file.json" "$P-$name"
    step "$name-short" gl exec -p "$OUT/file.json" "$P-$name"
    step "$name-link" gl exec --process "$OUT/link.json" "$P-$name"
    step "$name-ro" gl exec --process "$OUT/.place/file.json" "$P-$name"
    step "$name-stdin" gl exec --process /dev/stdin "$P-$name" <"$OUT/file.json"
    cat "$OUT/file.json" | step "$name-pipe" gl exec --process /dev/stdin "$P-$name"
    cat "$OUT/file.json" >"$OUT/.fifo" &
    step "$name-fifo" gl exec --process "$OUT/.fifo" "$P-$name"
    wait
    step "$name-seven" gl exec --process /proc/self/fd/7 "$P-$name" 7<"$OUT/file.json"
done
step dev readlink /dev/stdin /dev/fd
step links readlink "$OUT/link.json"
step same cmp "$OUT/file.json" "$OUT/before"
step owned stat -c '%h %a %F' "$OUT/file.json" "$OUT/.fifo" "$OUT/.place/file.json"
umount "$OUT/.place"
"#;

const SPELLINGS: &[&str] =
    &["file", "equals", "short", "link", "ro", "stdin", "pipe", "fifo", "seven"];

pub fn a_process_file_stays_as_it_was(place: Place) {
    let lab = Lab::new(place, REAL);
    lab.bundle("web", &[("gpulease/devices", "1")], "echo END; sleep 60");
    lab.bundle("bare", &[], "echo END; sleep 60");
    let script = format!(
        r#"
        make web run web --detach
        make bare run bare --detach
        until_ says web END
        until_ says bare END
        {EXECS}
        step delete gl delete --force "$P-web"
        step delete-bare gl delete --force "$P-bare""#
    );
    let Some(steps) = lab.run(&script) else { return };
    for spelling in SPELLINGS {
        let leased = steps.ok(&format!("web-{spelling}"));
        assert_eq!(values(&leased, "NVIDIA_VISIBLE_DEVICES"), [LOOP], "{spelling}: {leased}");
        assert_eq!(values(&leased, "KEPT"), ["1"], "{spelling}");
        let bare = steps.ok(&format!("bare-{spelling}"));
        assert_eq!(values(&bare, "NVIDIA_VISIBLE_DEVICES"), ["all"], "{spelling}: {bare}");
    }
    assert_eq!(steps.ok("dev"), "/proc/self/fd/0\n/proc/self/fd\n");
    assert_eq!(steps.ok("links"), "file.json\n");
    steps.ok("same");
    assert_eq!(steps.ok("owned"), "1 644 regular file\n1 644 fifo\n1 644 regular file\n");
}

pub fn preserved_descriptors_are_the_callers(place: Place) {
    let lab = Lab::new(place, REAL);
    lab.bundle("web", &[("gpulease/devices", "1")], "echo END; sleep 60");
    let script = r#"
        make web run web --detach
        until_ says web END
        cat >"$OUT/file.json" <<'JSON'
{"terminal":false,"user":{"uid":0,"gid":0},"cwd":"/","noNewPrivileges":true,
 "args":["sh","-c","for f in /proc/self/fd/*; do readlink $f; done | sort -u; cat <&4; env"],
 "env":["PATH=/bin"]}
JSON
        echo four >"$OUT/four"
        step two gl exec --preserve-fds 2 --process "$OUT/file.json" "$P-web" 3</dev/null 4<"$OUT/four"
        # A descriptor that is announced and not there must not become ours.
        step short gl exec --preserve-fds 5 --process "$OUT/file.json" "$P-web" 3</dev/null 4<"$OUT/four"
        step delete gl delete --force "$P-web"
        "#;
    let Some(steps) = lab.run(script) else { return };
    let two = steps.ok("two");
    has_line(&two, "four");
    assert_eq!(values(&two, "NVIDIA_VISIBLE_DEVICES"), [LOOP]);
    let short = steps.out("short");
    assert!(!two.contains("memfd") && !short.contains("memfd"), "{two}{short}");
}

/// Every way to have a configuration that is no file of the bundle. `$O` is the option that names
/// one, where the runtime has it.
const CONFIGS: &str = r#"
mkdir "$B/named" "$OUT/.place"
for name in web bare; do
    file=$OUT/$name.json
    cp "$B/$name/config.json" "$file"
    cp -p "$file" "$OUT/$name.before"
    ln -s "$name.json" "$OUT/$name.link"
    mkdir "$B/$name-link" "$B/$name-fifo" "$OUT/.place/$name"
    ln -s "$file" "$B/$name-link/config.json"
    mkfifo "$B/$name-fifo/config.json" "$OUT/.fifo-$name"
    step "$name-own-link" gl run --bundle "$B/$name-link" "$P-$name-own-link"
    cat "$file" >"$B/$name-fifo/config.json" &
    step "$name-own-fifo" timeout 20 "$SHIM" --gpulease-config "$CONFIG" --root "$ROOT" \
        run --bundle "$B/$name-fifo" "$P-$name-own-fifo"
    : <>"$B/$name-fifo/config.json"
    wait
    mount -t tmpfs none "$OUT/.place/$name"
    cp "$file" "$OUT/.place/$name/config.json"
    mount -o remount,ro "$OUT/.place/$name"
    step "$name-own-ro" gl run --bundle "$OUT/.place/$name" "$P-$name-own-ro"
    named() { _w=$1; shift; step "$name-$_w" gl run --bundle "$B/named" "$@" "$P-$name-$_w"; }
    if [ "$NAMES" = yes ]; then
        named file --config "$file"
        named joined "-f$file"
        named short --conf="$OUT/$name.link"
        named ro --config "$OUT/.place/$name/config.json"
        named stdin --config /dev/stdin <"$file"
        cat "$file" | named pipe --config /dev/stdin
        cat "$file" >"$OUT/.fifo-$name" &
        named fifo --config "$OUT/.fifo-$name"
        wait
        named seven --config /proc/self/fd/7 7<"$file"
    fi
    step "$name-same" cmp "$file" "$OUT/$name.before"
    step "$name-links" readlink "$OUT/$name.link" "$B/$name-link/config.json"
    step "$name-owned" stat -c '%h %F' "$file" "$B/$name-fifo/config.json" "$OUT/.fifo-$name"
    umount "$OUT/.place/$name"
done
step dev readlink /dev/stdin /dev/fd
leases end
"#;

pub fn a_configuration_stays_as_it_was(place: Place) {
    let lab = Lab::new(place, REAL);
    lab.bundle("web", &[("gpulease/devices", "1")], "env; echo END");
    lab.bundle("bare", &[], "env; echo END");
    let is_crun = place.runtime == "crun";
    let names = if is_crun { "yes" } else { "no" };
    let script = format!("NAMES={names}\n{CONFIGS}");
    let Some(steps) = lab.run(&script) else { return };
    let mut spellings = vec!["own-link", "own-fifo"];
    if is_crun {
        spellings.extend(["file", "joined", "short", "ro", "stdin", "pipe", "fifo", "seven"]);
    }
    for spelling in spellings {
        let (web, bare) = (format!("web-{spelling}"), format!("bare-{spelling}"));
        match (is_crun, spelling) {
            (false, "own-fifo") => {
                // Whether it asks for a GPU cannot be seen without taking it from runc.
                for step in [&web, &bare] {
                    assert!(steps.refused(step, "bad-bundle").contains("not a regular file"));
                }
                continue;
            }
            (false, _) => {
                assert!(steps.refused(&web, "bad-bundle").contains("is a link"), "{spelling}");
            }
            _ => {
                let text = steps.ok(&web);
                has_line(&text, "END");
                assert_eq!(values(&text, "NVIDIA_VISIBLE_DEVICES"), [LOOP], "{spelling}: {text}");
            }
        }
        let text = steps.ok(&bare);
        has_line(&text, "END");
        assert!(!text.contains("NVIDIA"), "{spelling}: {text}");
    }
    assert!(steps.refused("web-own-ro", "bad-bundle").contains("Read-only file system"));
    has_line(&steps.ok("bare-own-ro"), "END");
    for name in ["web", "bare"] {
        steps.ok(&format!("{name}-same"));
        let file = lab.host.path("out").join(format!("{name}.json"));
        let links = format!("{name}.json\n{}\n", file.display());
        assert_eq!(steps.ok(&format!("{name}-links")), links);
        let owned = steps.ok(&format!("{name}-owned"));
        assert_eq!(owned, "1 regular file\n1 fifo\n1 fifo\n");
    }
    assert_eq!(steps.ok("dev"), "/proc/self/fd/0\n/proc/self/fd\n");
    assert!(steps.leases("end").is_empty());
}

pub fn every_spelling_finds_the_request(place: Place) {
    let lab = Lab::new(place, REAL);
    lab.bundle("web", &[("gpulease/devices", "1")], "env; echo END");
    let spellings: &[&str] = match place.runtime {
        "crun" => &["-b$W ID", "-b $W ID", "--bundl $W ID", "--b=$W -- ID", "--prog x -b$W ID"],
        _ => &[
            "--help=false -b $W ID",
            "-bundle=$W ID",
            "--b $W ID",
            "ID -b $W",
            "ID --no-pivot=0 -h=F --bundle=$W",
        ],
    };
    let mut script = "W=$B/web\ncp \"$W/config.json\" \"$OUT/before\"\n".to_owned();
    for (at, spelling) in spellings.iter().enumerate() {
        let words = spelling.replace("ID", &format!("$P-web{at}"));
        script.push_str(&format!(
            "step web{at} gl run {words}\ncp \"$OUT/before\" \"$W/config.json\"\n"
        ));
    }
    // What only a later version could take, or none: never a container without its lease.
    script.push_str(
        "step later gl run --new -b $W $P-later\nstep odd gl run --bund$W -zb$W $P-odd\n",
    );
    script.push_str("cd \"$W\"\nstep here gl run $P-here\n");
    let Some(steps) = lab.run(&script) else { return };
    for (at, spelling) in spellings.iter().enumerate() {
        let text = steps.ok(&format!("web{at}"));
        assert_eq!(values(&text, "NVIDIA_VISIBLE_DEVICES"), [LOOP], "{spelling}: {text}");
    }
    assert_eq!(values(&steps.ok("here"), "NVIDIA_VISIBLE_DEVICES"), [LOOP]);
    for step in ["later", "odd"] {
        assert_ne!(steps.rc(step), 0);
        assert!(!steps.out(step).contains("END"), "{}", steps.out(step));
    }
    steps.refused("odd", "bad-request");
}

pub fn every_spelling_finds_the_process(place: Place) {
    let lab = Lab::new(place, REAL);
    lab.bundle("web", &[("gpulease/devices", "1")], "echo END; sleep 60");
    let spellings: &[&str] = match place.runtime {
        "crun" => &["-p$F ID", "-p $F -- ID", "--process=$F ID", "--cwd / -eA=B -p$F ID"],
        _ => &["-process=$F ID", "--p $F ID", "--tty=false -p=$F ID", "--cwd / -p $F -- ID"],
    };
    let mut script = r#"
        make web run web --detach
        until_ says web END
        F=$OUT/file.json
        cat >"$F" <<'JSON'
{"terminal":false,"user":{"uid":0,"gid":0},"cwd":"/","args":["env"],
 "env":["PATH=/bin","NVIDIA_VISIBLE_DEVICES=all"]}
JSON
        "#
    .to_owned();
    for (at, spelling) in spellings.iter().enumerate() {
        let words = spelling.replace("ID", "$P-web");
        script.push_str(&format!("step exec{at} gl exec {words}\n"));
    }
    script.push_str("step odd gl exec -zp$F $P-web\nstep other gl exec -zp$F $P-nothing\n");
    script.push_str("step delete gl delete --force $P-web\n");
    let Some(steps) = lab.run(&script) else { return };
    for (at, spelling) in spellings.iter().enumerate() {
        let text = steps.ok(&format!("exec{at}"));
        assert_eq!(values(&text, "NVIDIA_VISIBLE_DEVICES"), [LOOP], "{spelling}: {text}");
    }
    steps.refused("odd", "bad-request");
    assert!(!steps.err("other").starts_with("gpulease: "), "{}", steps.err("other"));
}
