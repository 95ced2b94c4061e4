//! The annotations of a request.

use crate::request::keys::{Alias, KEYS, Key};
use serde::Serialize;

/// Every annotation that gpulease reads.
#[derive(Debug, Serialize)]
pub struct AnnotationKeys {
    annotations: Vec<Annotation>,
}

#[derive(Debug, Serialize)]
struct Annotation {
    key: &'static str,
    env: &'static str,
    value: &'static str,
    default: &'static str,
    meaning: &'static str,
    example: &'static str,
    /// The values that are not supported yet, if there are any.
    note: Option<String>,
    /// The annotation of another project that has the same effect.
    alias: Option<AliasKey>,
}

#[derive(Debug, Serialize)]
struct AliasKey {
    key: &'static str,
    value: &'static str,
}

impl AnnotationKeys {
    pub fn all() -> Self {
        Self { annotations: KEYS.iter().map(Annotation::of).collect() }
    }
}

impl Annotation {
    fn of(key: &Key) -> Self {
        Self {
            key: key.name,
            env: key.env,
            value: key.syntax,
            default: key.default,
            meaning: key.meaning,
            example: key.example,
            note: key.support.note(),
            alias: key
                .alias
                .map(|Alias { name, syntax, .. }| AliasKey { key: name, value: syntax }),
        }
    }
}
