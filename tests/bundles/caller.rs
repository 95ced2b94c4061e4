//! What the caller names by path is read and never written: whatever it is, and with a lease or
//! without one.

use super::lab::{LOOP, Lab, Place, REAL, has_line, values};

/// A /dev of the scenario's own, so that a test that fails damages nothing. Nothing of the host's is
/// mounted into it.
const OWN_DEV: &str = r#"
mount -t tmpfs -o mode=755,dev none /dev
mkdir /dev/pts /dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 none /dev/pts
ln -s pts/ptmx /dev/ptmx
ln -s /proc/self/fd /dev/fd
for _l in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${_l%:*}" "/dev/${_l#*:}"; done
for _n in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "/dev/${_n%:*}" c 1 "${_n#*:}"; done
mknod -m 666 /dev/tty c 5 0
mknod -m 666 /dev/fuse c 10 229
mknod -m 666 /dev/loop-control c 10 237
"#;

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
        r#"{OWN_DEV}
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
