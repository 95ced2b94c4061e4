use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};

#[test]
fn judgement() {
    use UnsafeFile::{NotDirectory, NotRegular, Owner, Writable};
    let file = |mode, owner| judge_file(FileFacts { mode, owner }, 1000);
    assert_eq!(file(0o100_644, 0), Ok(()));
    assert_eq!(file(0o100_600, 1000), Ok(()));
    assert_eq!(file(0o100_644, 1001), Err(Owner(1001)));
    assert_eq!(file(0o100_664, 0), Err(Writable(0o664)));
    assert_eq!(file(0o100_646, 0), Err(Writable(0o646)));
    assert_eq!(file(0o010_644, 0), Err(NotRegular));
    let directory = |mode, owner| judge_directory(FileFacts { mode, owner }, 1000, 0o002);
    assert_eq!(directory(0o040_755, 0), Ok(()));
    assert_eq!(directory(0o041_777, 0), Ok(()));
    assert_eq!(directory(0o040_777, 0), Err(Writable(0o777)));
    assert_eq!(directory(0o040_755, 1001), Err(Owner(1001)));
    assert_eq!(directory(0o100_755, 0), Err(NotDirectory));
}

fn put(path: &Path, text: &[u8], mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn fault(path: &Path) -> UnsafeFile {
    match read_checked(path) {
        Err(FileError::Insecure { fault, .. }) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_on_disk() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f");
    assert!(read_checked(&path).unwrap().is_none());
    put(&path, b"hello", 0o644);
    assert_eq!(read_checked(&path).unwrap().unwrap().bytes, b"hello");
    put(&path, b"hello", 0o664);
    assert_eq!(fault(&path), UnsafeFile::Writable(0o664));
    assert_eq!(fault(root.path()), UnsafeFile::NotRegular);
    put(&path, &vec![b'#'; (FILE_MAX + 1) as usize], 0o644);
    assert!(matches!(read_checked(&path), Err(FileError::TooLarge { .. })));
    let below = path.join("x");
    let error = read_checked(&below).unwrap_err();
    assert!(error.to_string().contains(below.to_str().unwrap()), "{error}");
}

#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert_eq!(fault(&path), UnsafeFile::NotRegular);
}

/// Reads on a thread of its own: a reader that waits must fail the test, not hang it.
fn soon<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || drop(sender.send(read())));
    receiver.recv_timeout(std::time::Duration::from_secs(20)).unwrap()
}

#[test]
fn nothing_but_a_regular_file_is_read() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    fs::create_dir(at("directory")).unwrap();
    symlink("file", at("link")).unwrap();
    put(&at("file"), b"hello", 0o666);
    // 3 GB of nothing.
    File::create(at("sparse")).unwrap().set_len(3 << 30).unwrap();
    for (name, kind) in [
        ("pipe", io::ErrorKind::InvalidData),
        ("socket", io::ErrorKind::InvalidData),
        ("directory", io::ErrorKind::InvalidData),
        ("sparse", io::ErrorKind::FileTooLarge),
    ] {
        let (own, foreign) = (at(name), at(name));
        assert_eq!(soon(move || read_own(&own, 9)).unwrap_err().kind(), kind, "{name}");
        assert_eq!(soon(move || read_foreign(&foreign, 9)).unwrap_err().kind(), kind, "{name}");
    }
    assert_eq!(read_foreign(&at("link"), 5).unwrap().unwrap(), b"hello");
    assert_eq!(read_own(&at("link"), 5).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(read_own(&at("file"), 5).unwrap().unwrap(), b"hello");
    assert_eq!(read_own(&at("file"), 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    assert!(read_own(&at("none"), 4).unwrap().is_none());
    if effective_user() == 0 {
        std::os::unix::fs::chown(at("file"), Some(12345), None).unwrap();
        assert!(read_own(&at("file"), 5).unwrap_err().to_string().contains("12345"));
    }
}

#[test]
fn both_ends_of_a_link_are_checked() {
    let root = tempfile::tempdir().unwrap();
    let (safe, open) = (root.path().join("safe"), root.path().join("open"));
    for directory in [&safe, &open] {
        fs::create_dir(directory).unwrap();
    }
    put(&safe.join("real"), b"x", 0o644);
    put(&open.join("real"), b"x", 0o644);
    symlink(safe.join("real"), safe.join("good")).unwrap();
    symlink(open.join("real"), safe.join("out")).unwrap();
    symlink(safe.join("none"), safe.join("dangling")).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(read_checked(&safe.join("good")).unwrap().is_some());
    assert_eq!(fault(&safe.join("out")), UnsafeFile::Writable(0o777));
    assert_eq!(fault(&open.join("real")), UnsafeFile::Writable(0o777));
    // A link to nothing is a mistake, not an absent file.
    assert!(matches!(read_checked(&safe.join("dangling")), Err(FileError::Io(_))));
}

#[test]
fn another_users_file_is_refused() {
    if effective_user() != 0 {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("f");
    put(&path, b"x", 0o644);
    std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
    assert_eq!(fault(&path), UnsafeFile::Owner(12345));
}
