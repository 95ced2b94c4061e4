//! Puts the commit into `--version`, so that a bug report names the code it came from.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=.git/HEAD");
    println!("cargo:rerun-if-changed=.git/refs/heads");
    println!("cargo:rerun-if-env-changed=GPULEASE_COMMIT");
    let commit =
        std::env::var("GPULEASE_COMMIT").ok().or_else(head).unwrap_or_else(|| "unknown".into());
    println!("cargo:rustc-env=GPULEASE_COMMIT={commit}");
}

/// The short hash of HEAD, marked when tracked files differ from it.
fn head() -> Option<String> {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=10"])
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|t| !t.is_empty())
}
