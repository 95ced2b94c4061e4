//! Requests for MIG instances.

use super::*;
use crate::model::isolation::Isolation;
use crate::model::lease::Sharing;
use crate::model::mig::MigProfile;

const PROFILE: &str = "gpulease/mig-profile";
const ISOLATION: &str = "gpulease/isolation";

fn of(profile: &str) -> MigChoice {
    MigChoice::Instances(Some(MigProfile::new(profile).unwrap()))
}

#[test]
fn a_request_is_for_gpus_unless_it_says_otherwise() {
    for words in [
        &[("gpulease/count", "1")][..],
        &[("gpulease/count", "all")],
        &[("gpulease/memory", "4Gi")],
        &[(ISOLATION, "auto")],
        &[(ISOLATION, "mps"), ("gpulease/compute", "0.5")],
    ] {
        assert_eq!(asked(words).mig, MigChoice::Gpus, "{words:?}");
    }
    assert_eq!(asked(&[("gpulease/devices", "0,2:1")]).mig, MigChoice::Either);
    let by_env = with_env(&["NVIDIA_VISIBLE_DEVICES"], &[("NVIDIA_VISIBLE_DEVICES", "all")]);
    assert_eq!(by_env.unwrap().unwrap().mig, MigChoice::Either);
}

#[test]
fn instances_are_asked_for_by_profile_or_by_isolation() {
    for (words, mig) in [
        (&[(PROFILE, "1g.5gb")][..], of("1g.5gb")),
        (&[(PROFILE, "1g.5gb.me")], of("1g.5gb+me")),
        (&[(PROFILE, "1g.5gb"), (ISOLATION, "auto")], of("1g.5gb")),
        (&[(PROFILE, "1g.5gb"), (ISOLATION, "mig"), ("gpulease/devices", "2")], of("1g.5gb")),
        (&[(ISOLATION, "mig"), ("gpulease/compute", "1")], MigChoice::Instances(None)),
        (&[("kaiwo.ai/gpu-isolation", "mig")], MigChoice::Instances(None)),
    ] {
        let request = asked(words);
        assert_eq!((&request.mig, request.isolation), (&mig, Isolation::Mig), "{words:?}");
        assert_eq!((request.amount, request.sharing), (Amount::Whole, Sharing::Exclusive));
    }
    // A listed GPU stands for its instances, however many it has.
    let several = asked(&[("gpulease/devices", "2"), (PROFILE, "1g.5gb"), ("gpulease/count", "3")]);
    assert_eq!(several.count, Count::Exactly(3));
}

#[test]
fn a_profile_contradicts_other_ways_of_isolation() {
    for other in ["none", "time-slicing", "mps", "partition", "cu-mask"] {
        let (code, text) = refused(&[(PROFILE, "1g.5gb"), (ISOLATION, other)]);
        assert_eq!(code, Code::BadRequest);
        assert_eq!(text, format!("`{PROFILE}` is `1g.5gb`, but `{ISOLATION}` is `{other}`"));
    }
}

#[test]
fn an_instance_is_leased_whole() {
    for (words, mig, share) in [
        (&[(PROFILE, "1g.5gb"), ("gpulease/compute", "0.5")][..], PROFILE, "gpulease/compute"),
        (&[(ISOLATION, "mig"), ("gpulease/memory", "4Gi")], ISOLATION, "gpulease/memory"),
        (
            &[(ISOLATION, "mig"), ("gpulease/compute", "1"), ("gpulease/sharing", "shared")],
            ISOLATION,
            "gpulease/sharing",
        ),
        (
            &[("kaiwo.ai/gpu-isolation", "mig"), ("kaiwo.ai/gpu-fraction", "0.5")],
            "kaiwo.ai/gpu-isolation",
            "kaiwo.ai/gpu-fraction",
        ),
    ] {
        let error = annotated(words).unwrap_err();
        assert_eq!(error.code, Code::BadRequest, "{words:?}");
        let text = error.to_string();
        assert!(text.starts_with(&format!("`{mig}` is `")), "{text}");
        assert!(text.contains("(a MIG instance, which is leased whole)"), "{text}");
        assert!(text.contains(&format!("but `{share}` is `")), "{text}");
        assert!(error.hint.unwrap().starts_with(&format!("leave out `{share}`")));
    }
}
