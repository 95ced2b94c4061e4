//! The container's state, which the runtime passes to a hook on standard input (runtime-spec,
//! runtime.md, "State"). Only the fields that we need are read. runc and crun differ in the others,
//! and in layout.

use serde::Deserialize;
use std::io::Read;
use std::path::PathBuf;

/// A state is small. With annotations it may have some tens of KiB.
const MAX_BYTES: u64 = 8 << 20;

/// The fields that we need.
#[derive(Debug, Deserialize, PartialEq, Eq)]
pub(super) struct State {
    pub id: String,
    /// Absent or 0 if the runtime does not know it yet.
    #[serde(default)]
    pub pid: Option<i32>,
    #[serde(default)]
    pub bundle: Option<PathBuf>,
}

/// Reads to the end of the input, so that the runtime never writes to a closed pipe.
pub(super) fn read(input: impl Read) -> Result<State, String> {
    let mut bytes = Vec::new();
    input
        .take(MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot read the container's state: {error}"))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| format!("the container's state is unreadable: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_runtimes_states_are_read() {
        let runc = r#"{"ociVersion":"1.0.2","id":"c","status":"creating","pid":42,"bundle":"/b","annotations":{"a":"b"}}"#;
        let state = State { id: "c".into(), pid: Some(42), bundle: Some("/b".into()) };
        assert_eq!(read(runc.as_bytes()), Ok(state));
        let crun =
            "{\n \"ociVersion\": \"1.0\",\n \"id\": \"c\",\n \"pid\": 0,\n \"root\": \"rootfs\"\n}";
        let state = State { id: "c".into(), pid: Some(0), bundle: None };
        assert_eq!(read(crun.as_bytes()), Ok(state));
        let poststop = r#"{"id":"c","status":"stopped"}"#;
        assert_eq!(read(poststop.as_bytes()).unwrap().pid, None);
        assert!(read(&b""[..]).is_err());
    }
}
