//! Finds another ledger of the same GPUs: AMD's container toolkit keeps one if it is told to.

use super::engines::unreadable;
use super::finding::{Findings, quoted};
use crate::engines::read_text;
use crate::host::Host;
use serde_json::Value;
use std::path::Path;

const FILE: &str = "/var/log/gpu-tracker.json";

pub(super) fn check(host: &Host, found: &mut Findings) {
    let file = host.paths.on_host(Path::new(FILE));
    let text = match read_text(&file) {
        Ok(Some(text)) => text,
        Ok(None) => return,
        Err(error) => return unreadable("AMD's GPU Tracker", &error, host, found),
    };
    let state: Value = serde_json::from_str(&text).unwrap_or_default();
    if state.get("enabled").and_then(Value::as_bool) == Some(true) {
        let file = quoted(&file);
        found.warning(
            "amd-gpu-tracker",
            format!(
                "{file} says that AMD's GPU Tracker is on: it and gpulease do not know each \
                 other's containers, and both may give away the same GPU"
            ),
            "`amd-ctk gpu-tracker disable`, or stop starting containers with amd-container-runtime",
        );
    }
}
