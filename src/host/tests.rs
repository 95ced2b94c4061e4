use super::*;
use std::fs;
use tempfile::TempDir;

/// A host below a directory, with this text in its configuration.
fn host(text: &str, last: &str) -> (TempDir, Host) {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    let config = dir.path().join("etc/own.toml");
    fs::create_dir_all(&paths.etc).unwrap();
    fs::create_dir_all(&paths.var).unwrap();
    fs::write(&config, text).unwrap();
    fs::write(paths.var.join("run_dir"), last).unwrap();
    let host = Host::below(Some(&config), dir.path());
    (dir, host)
}

#[test]
fn another_hosts_paths_are_found_from_here() {
    let text = "runtime = '/usr/bin/crun'\nrun_dir = '/run/own'\n[mps]\ncontrol = '/opt/control'\n";
    let (dir, host) = host(text, "");
    let below = |path| Some(dir.path().join(path));
    let config = host.config().unwrap();
    assert_eq!((config.runtime.clone(), config.hook.clone()), (below("usr/bin/crun"), None));
    assert_eq!(config.mps.control, below("opt/control"));
    assert_eq!(Some(host.paths.run.clone()), below("run/own"));
    assert_eq!(Some(config.driver_root.clone()), below(""));
    assert_eq!(host.config_name(), Path::new("/etc/own.toml"));
    assert_eq!(host.known(), ConfigState::All);
}

#[test]
fn a_torn_file_leaves_leases_where_they_were() {
    let (dir, torn) = host("run_dir = [", "/etc/own.toml\t/run/before\tboot\n");
    assert!(torn.config().is_err());
    assert_eq!((torn.known(), torn.hides_runtime()), (ConfigState::Essentials, true));
    assert_eq!(torn.paths.run, dir.path().join("run/before"));

    let (dir, unknown) = host("run_dir = [", "");
    assert_eq!(unknown.known(), ConfigState::Nothing);
    assert_eq!(unknown.paths.run, dir.path().join("run/gpulease"));
}

#[test]
fn what_was_not_named_may_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("config.toml");
    assert_eq!(config::look(&absent, false).config.unwrap(), Config::default());
    assert!(matches!(config::look(&absent, true).config, Err(ConfigError::Missing { .. })));
}
