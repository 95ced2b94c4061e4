//! Checks a spec with the types of the runtime specification, to warn if a low-level runtime may
//! reject it. The types know fewer values than some runtimes, so the result is never a refusal.

use crate::model::text::shown_line;
use oci_spec::runtime::Spec;
use serde::Serialize;

/// Why a runtime may reject a spec.
#[derive(Debug, Serialize)]
pub struct SpecFault {
    /// The place in the spec: `linux.resources.devices[0].allow`; `.` means all of it.
    pub path: String,
    pub message: String,
}

/// The first value that the types of the runtime specification reject.
pub fn fault_of(spec: &[u8]) -> Option<SpecFault> {
    // The types would read a list as an object without keys.
    if spec.trim_ascii_start().starts_with(b"[") {
        let message = "invalid type: sequence, expected an object".to_owned();
        return Some(SpecFault { path: ".".to_owned(), message });
    }
    let mut json = serde_json::Deserializer::from_slice(spec);
    let error = serde_path_to_error::deserialize::<_, Spec>(&mut json).err()?;
    let (path, message) = (error.path().to_string(), error.inner().to_string());
    Some(SpecFault { path: shown_line(&path), message: shown_line(&message) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_with_its_path() {
        let fault = |spec: &str| fault_of(spec.as_bytes()).map(|fault| fault.path);
        assert_eq!(fault(r#"{"ociVersion":"1.0.2"}"#), None);
        let device =
            r#"{"ociVersion":"1.0.2","linux":{"resources":{"devices":[{"allow":"yes"}]}}}"#;
        assert_eq!(fault(device).as_deref(), Some("linux.resources.devices[0].allow"));
        assert_eq!(fault("7").as_deref(), Some("."));
        assert_eq!(fault(" []").as_deref(), Some("."));
        assert_eq!(fault(r#"{"ociVersion":"1.0.2","mounts":7}"#).as_deref(), Some("mounts"));
    }

    #[test]
    fn what_a_spec_says_is_cut_and_shown_safely() {
        let long = "\\u001b[2J".repeat(1000);
        for spec in [
            format!(r#"{{"process":{{"capabilities":{{"bounding":["{long}"]}}}}}}"#),
            format!(r#"{{"annotations":{{"{long}":7}}}}"#),
        ] {
            let SpecFault { path, message } = fault_of(spec.as_bytes()).unwrap();
            assert!(path.len() < 5000 && message.len() < 5000, "{} {}", path.len(), message.len());
            assert!(!path.contains('\u{1b}') && !message.contains('\u{1b}'), "{path}: {message}");
        }
    }
}
