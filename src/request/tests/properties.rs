//! Properties of all requests.

use super::super::keys::KEYS;
use super::super::{Amount, Input, Policy, Request, RequestError, mentions_request, parse};
use super::map;
use crate::model::quantity::MilliGpu;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn annotated(annotations: &BTreeMap<String, String>) -> Result<Option<Request>, RequestError> {
    let input = Input { annotations, env: &[], container_name: Some("main") };
    parse(&input, &Policy::default())
}

/// Texts, many of which are almost a valid value.
fn value() -> impl Strategy<Value = String> {
    let example = prop::sample::select(KEYS.iter().map(|key| key.example).collect::<Vec<_>>());
    prop_oneof![
        any::<String>(),
        "[0-9.,%mGMKki+-]{0,12}",
        "[0-9]{1,45}(\\.[0-9]{0,45})?(m|%|Gi|T)?",
        "(GPU-|MIG-|card|renderD|0x)[0-9a-fA-F:.-]{0,20}",
        example.prop_map(str::to_owned),
    ]
}

fn key() -> impl Strategy<Value = String> {
    let known = KEYS.iter().flat_map(|key| [Some(key.name), key.alias.map(|alias| alias.name)]);
    let known = prop::sample::select(known.flatten().collect::<Vec<_>>());
    prop_oneof![
        any::<String>(),
        "(main|other)?\\.?gpulease/[a-z-]{0,10}",
        known.clone().prop_map(str::to_owned),
        known.prop_map(|name| format!("main.{name}")),
    ]
}

proptest! {
    #[test]
    fn no_annotations_bring_the_parser_down(
        annotations in prop::collection::btree_map(key(), value(), 0..6),
    ) {
        let parsed = annotated(&annotations);
        if let Err(error) = &parsed {
            let text = format!("{error}{}", error.hint.as_deref().unwrap_or_default());
            prop_assert!(!text.contains(char::is_control), "{text:?}");
        }
        // The cheap check may be true without a request, but is never false if there is one.
        if !mentions_request(annotations.keys().map(String::as_str), Some("main")) {
            prop_assert_eq!(parsed, Ok(None));
        }
    }

    #[test]
    fn no_variables_bring_the_parser_down(
        env in prop::collection::vec(
            ("(NVIDIA|AMD)_VISIBLE_DEVICES|GPULEASE_[A-Z_]{0,9}|GPULEASE_COUNT", value()), 0..4),
    ) {
        let admitted = ["NVIDIA_VISIBLE_DEVICES", "AMD_VISIBLE_DEVICES", "GPULEASE_*"];
        let accept_env = admitted.map(str::to_owned).to_vec();
        let input = Input { annotations: &BTreeMap::new(), env: &env, container_name: None };
        let _ = parse(&input, &Policy { accept_env, ..Policy::default() });
    }

    #[test]
    fn an_unknown_key_of_ours_is_never_overlooked(
        prefix in "(main\\.)?gpulease/",
        short in "[a-zA-Z0-9._ -]{0,14}",
        value in value(),
        also in any::<bool>(),
    ) {
        prop_assume!(KEYS.iter().all(|key| key.short() != short));
        let mut annotations = map(&[(&format!("{prefix}{short}"), &value)]);
        if also {
            annotations.insert("gpulease/count".to_owned(), "1".to_owned());
        }
        let error = annotated(&annotations).unwrap_err();
        prop_assert!(error.message.ends_with("is not a known key"), "{error}");
    }
}

#[test]
fn every_spelling_of_every_share_is_the_same_share() {
    for milli in MilliGpu::MIN.0..=MilliGpu::WHOLE.0 {
        let fraction = format!("{}.{:03}", milli / 1000, milli % 1000);
        let spellings = [
            ("gpulease/compute", format!("{milli}m")),
            ("gpulease/compute", format!("{}.{}%", milli / 10, milli % 10)),
            ("gpulease/compute", fraction.clone()),
            ("gpulease/compute", fraction.trim_start_matches('0').to_owned()),
            ("gpulease/compute", format!("{fraction}000")),
            ("kaiwo.ai/gpu-fraction", fraction),
        ];
        for (key, text) in spellings {
            let request = annotated(&map(&[(key, &text)])).unwrap().unwrap();
            let expected = match MilliGpu(milli) {
                MilliGpu::WHOLE => Amount::Whole,
                part => Amount::Share { compute: Some(part), memory: None },
            };
            assert_eq!(request.amount, expected, "{key}={text}");
        }
    }
}
