//! The table of keys, and what the other tests use.

mod mig;
mod properties;
mod sources;
mod values;

use super::keys::{KEYS, KeyId, Support};
use super::*;
use crate::model::code::Code;
use crate::model::quantity::{Bytes, MilliGpu};

type Parsed = Result<Option<Request>, RequestError>;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Annotations of a container whose engine does not name it.
fn annotated(pairs: &[(&str, &str)]) -> Parsed {
    let annotations = map(pairs);
    let input = Input { annotations: &annotations, env: &[], container_name: None };
    parse(&input, &Policy::default())
}

fn in_pod(container: &str, pairs: &[(&str, &str)]) -> Parsed {
    let annotations = map(pairs);
    let input = Input { annotations: &annotations, env: &[], container_name: Some(container) };
    parse(&input, &Policy::default())
}

fn with_env(admitted: &[&str], env: &[(&str, &str)]) -> Parsed {
    let env: Vec<(String, String)> =
        env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let accept_env = admitted.iter().map(|name| (*name).to_owned()).collect();
    let input = Input { annotations: &BTreeMap::new(), env: &env, container_name: None };
    parse(&input, &Policy { accept_env, ..Policy::default() })
}

fn asked(pairs: &[(&str, &str)]) -> Request {
    annotated(pairs).unwrap().unwrap()
}

/// The refusal of these annotations: its code and its text.
fn refused(pairs: &[(&str, &str)]) -> (Code, String) {
    let error = annotated(pairs).unwrap_err();
    (error.code, error.to_string())
}

fn share(milli: Option<u32>, mib: Option<u64>) -> Amount {
    Amount::Share { compute: milli.map(MilliGpu), memory: mib.map(Bytes::from_mib) }
}

#[test]
fn the_table_and_the_parser_agree() {
    for key in KEYS {
        let mut spellings = vec![(key.name, key.example, RequestSource::Annotations)];
        spellings.extend(key.alias.map(|alias| (alias.name, alias.example, RequestSource::Alias)));
        for (name, example, source) in spellings {
            assert!(is_request_key(name), "{name}");
            match annotated(&[(name, example)]) {
                Ok(request) => assert_eq!(request.unwrap().source, source, "{name}"),
                Err(error) => {
                    assert_eq!(error.code, Code::NotSupportedYet, "{name}: {error}");
                    assert_eq!(key.support, Support::Only(&[]), "{name}");
                }
            }
        }
        let own = with_env(&["GPULEASE_*"], &[(key.env, key.example)]);
        assert_eq!(own.is_ok(), key.support != Support::Only(&[]), "{}", key.env);
        let spelled = key.short().to_ascii_uppercase().replace('-', "_");
        assert_eq!(key.env, format!("GPULEASE_{spelled}"));
        assert!(!key.meaning.is_empty() && !key.meaning.ends_with('.'), "{}", key.name);
        assert!(!key.syntax.is_empty() && !key.default.is_empty(), "{}", key.name);
        // The parser recognises values that the table marks as unsupported.
        if let Support::Except(values) = key.support {
            for value in values {
                assert_eq!(refused(&[(key.name, value)]).0, Code::NotSupportedYet, "{value}");
            }
        }
    }
    let mut ids: Vec<KeyId> = KEYS.iter().map(|key| key.id).collect();
    ids.dedup();
    assert!(ids.is_sorted() && ids.len() == KEYS.len(), "one row for each key, in order");
}

#[test]
fn nothing_of_ours_is_no_request() {
    assert_eq!(annotated(&[]), Ok(None));
    let others = [
        ("io.kubernetes.cri.container-name", "main"),
        ("gpulease.granted/lease", "l-1"),
        ("gpulease.granted/count", "nonsense"),
        ("kaiwo.ai/managed", "true"),
        ("notgpulease/count", "1"),
        ("gpulease", "1"),
    ];
    assert_eq!(annotated(&others), Ok(None));
    assert!(!mentions_request(others.map(|(key, _)| key), None));
    assert_eq!(in_pod("main", &[("sidecar.gpulease/count", "1")]), Ok(None));
}

#[test]
fn any_key_asks_for_one_whole_device() {
    let request = asked(&[("gpulease/priority", "5")]);
    assert_eq!(request, Request::one(Strategy::BestFit, RequestSource::Annotations));
}
