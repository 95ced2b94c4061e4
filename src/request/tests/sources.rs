//! The sources of words: aliases, pods, variables.

use super::*;
use crate::model::device::Vendor;
use crate::model::isolation::Isolation;
use crate::model::lease::Sharing;

#[test]
fn kaiwo_pods_are_read() {
    let request = asked(&[
        ("kaiwo.ai/gpu-fraction", "0.5"),
        ("kaiwo.ai/gpu-memory", "4000"),
        ("kaiwo.ai/gpu-sharing", "true"),
        ("kaiwo.ai/gpu-isolation", "mps"),
    ]);
    assert_eq!(
        request,
        Request {
            amount: share(Some(500), Some(4000)),
            sharing: Sharing::Shared,
            isolation: Isolation::Mps,
            ..Request::one(Strategy::BestFit, RequestSource::Alias)
        }
    );
    // An absent `gpu-sharing` is not "false".
    assert_eq!(asked(&[("kaiwo.ai/gpu-fraction", "0.5")]).sharing, Sharing::Shared);
    assert_eq!(asked(&[("kaiwo.ai/gpu-sharing", "FALSE")]).sharing, Sharing::Exclusive);
    assert_eq!(asked(&[("kaiwo.ai/gpu-fraction", "1.0")]).amount, Amount::Whole);
    for (key, bad) in [
        ("kaiwo.ai/gpu-fraction", "0.05"),
        ("kaiwo.ai/gpu-fraction", "2.0"),
        ("kaiwo.ai/gpu-fraction", "50%"),
        ("kaiwo.ai/gpu-fraction", "500m"),
        ("kaiwo.ai/gpu-memory", "0"),
        ("kaiwo.ai/gpu-memory", "4Gi"),
        ("kaiwo.ai/gpu-memory", "-4000"),
        ("kaiwo.ai/gpu-sharing", "yes"),
        ("kaiwo.ai/gpu-sharing", "1"),
        ("kaiwo.ai/gpu-isolation", "cu-mask"),
        ("kaiwo.ai/gpu-isolation", "auto"),
    ] {
        let (code, text) = refused(&[(key, bad)]);
        assert_eq!(code, Code::BadRequest, "{key}={bad}");
        assert!(text.starts_with(&format!("`{key}` is `{bad}`, ")), "{text}");
    }
    let (_, text) = refused(&[("kaiwo.ai/gpu-fraction", "0.5"), ("kaiwo.ai/gpu-sharing", "false")]);
    assert!(text.contains("kaiwo.ai/gpu-fraction") && text.contains("kaiwo.ai/gpu-sharing"));
}

#[test]
fn two_spellings_must_say_the_same() {
    for (native, alias) in [
        (("gpulease/compute", "50%"), ("kaiwo.ai/gpu-fraction", "0.5")),
        (("gpulease/memory", "4000Mi"), ("kaiwo.ai/gpu-memory", "4000")),
        (("gpulease/isolation", "mps"), ("kaiwo.ai/gpu-isolation", "mps")),
        (("gpulease/sharing", "exclusive"), ("kaiwo.ai/gpu-sharing", "False")),
    ] {
        assert_eq!(asked(&[native, alias]).source, RequestSource::Annotations, "{native:?}");
    }
    let error =
        annotated(&[("gpulease/compute", "0.3"), ("kaiwo.ai/gpu-fraction", "0.5")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`gpulease/compute` is `0.3`, but `kaiwo.ai/gpu-fraction` is `0.5`"
    );
    assert_eq!(
        error.hint.unwrap(),
        "they contradict each other: keep `gpulease/compute` or `kaiwo.ai/gpu-fraction`"
    );
}

#[test]
fn a_key_can_be_narrowed_to_one_container() {
    let pod = [
        ("gpulease/compute", "0.5"),
        ("kaiwo.ai/gpu-fraction", "0.5"),
        ("main.gpulease/compute", "0.3"),
        ("side.car.gpulease/count", "2"),
        ("side.car.gpulease/typo", "2"),
    ];
    let main = in_pod("main", &pod).unwrap().unwrap();
    assert_eq!((main.amount, main.source), (share(Some(300), None), RequestSource::Annotations));
    let other = in_pod("other", &pod).unwrap().unwrap();
    assert_eq!((other.amount, other.count), (share(Some(500), None), Count::Exactly(1)));
    let error = in_pod("side.car", &pod).unwrap_err();
    assert!(error.message.ends_with("is not a known key"), "{error}");

    let error = annotated(&pod).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`main.gpulease/compute` is for one container, but the engine does not say which container \
         this is"
    );
    assert!(error.hint.unwrap().contains("`gpulease/compute`"));
    assert!(mentions_request(["main.gpulease/count"], None));
    assert!(mentions_request(["main.gpulease/count"], Some("main")));
    assert!(!mentions_request(["main.gpulease/count"], Some("sidecar")));
    assert!(mentions_request(["main.gpulease/count", "gpulease/count"], Some("sidecar")));
}

#[test]
fn unknown_keys_are_refused_with_a_suggestion() {
    for (key, hint) in [
        ("gpulease/cuont", "did you mean `gpulease/count`?"),
        ("gpulease/gpu-memory", "did you mean `gpulease/memory`?"),
        ("gpulease/Count", "did you mean `gpulease/count`?"),
        ("gpulease/count ", "did you mean `gpulease/count`?"),
        (" gpulease/count", "did you mean `gpulease/count`?"),
        ("GPULease/count", "did you mean `gpulease/count`?"),
        ("gpulease /count", "did you mean `gpulease/count`?"),
        (".gpulease/count", "did you mean `gpulease/count`?"),
        ("main.gpulease/cont", "did you mean `gpulease/count`?"),
    ] {
        assert!(mentions_request([key], Some("main")), "{key}");
        let error = in_pod("main", &[(key, "1")]).unwrap_err();
        assert_eq!(error.to_string(), format!("`{key}` is not a known key"));
        assert_eq!((error.code, error.hint.as_deref()), (Code::BadRequest, Some(hint)));
    }
    let error = annotated(&[("gpulease/\u{1b}[2Jfrobnicate", "1")]).unwrap_err();
    assert!(!error.to_string().contains('\u{1b}'));
    assert!(error.hint.unwrap().contains("count, devices, vendor"));
}

#[test]
fn empty_and_overlong_values_are_refused() {
    for key in KEYS {
        for name in [Some(key.name), key.alias.map(|alias| alias.name)].into_iter().flatten() {
            let (code, text) = refused(&[(name, "")]);
            assert_eq!(code, Code::BadRequest);
            assert!(text.starts_with(&format!("`{name}` is empty; allowed is ")), "{text}");
            let (_, text) = refused(&[(name, &"0".repeat(4097))]);
            assert_eq!(text, format!("`{name}` has 4097 bytes, at most 4096 are allowed"));
        }
    }
}

const NVIDIA: &str = "NVIDIA_VISIBLE_DEVICES";
const AMD: &str = "AMD_VISIBLE_DEVICES";

#[test]
fn variables_count_only_where_admitted() {
    let env = [(NVIDIA, "all"), (AMD, "all"), ("GPULEASE_COUNT", "2")];
    assert_eq!(with_env(&[], &env), Ok(None));
    let own = with_env(&["GPULEASE_*", NVIDIA], &env).unwrap().unwrap();
    assert_eq!((own.count, own.vendor), (Count::Exactly(2), None));
    assert_eq!(own.source, RequestSource::Environment);
    let one = with_env(&[NVIDIA], &env).unwrap().unwrap();
    assert_eq!((one.count, one.vendor), (Count::All, Some(Vendor::Nvidia)));
    let error = with_env(&[NVIDIA, AMD], &env).unwrap_err();
    assert!(error.message.ends_with("both ask for devices; a lease has one vendor"), "{error}");
    // Only the literal entry admits our own variables.
    assert_eq!(with_env(&["GPULEASE_COUNT"], &env), Ok(None));

    let last = with_env(&["GPULEASE_*"], &[("GPULEASE_COUNT", "2"), ("GPULEASE_COUNT", "3")]);
    assert_eq!(last.unwrap().unwrap().count, Count::Exactly(3));
    let error = with_env(&["GPULEASE_*"], &[("GPULEASE_CUONT", "2")]).unwrap_err();
    assert_eq!(error.hint.unwrap(), "did you mean `GPULEASE_COUNT`?");
}

#[test]
fn annotations_win_over_variables() {
    let annotations = map(&[("kaiwo.ai/gpu-fraction", "0.5")]);
    let env = [(NVIDIA.to_owned(), "nonsense".to_owned())];
    let input = Input { annotations: &annotations, env: &env, container_name: None };
    let policy = Policy { accept_env: vec![NVIDIA.to_owned()], ..Policy::default() };
    let request = parse(&input, &policy).unwrap().unwrap();
    assert_eq!((request.source, request.vendor), (RequestSource::Alias, None));
}

#[test]
fn the_vendors_variables() {
    let one = |name: &str, value: &str| with_env(&[name], &[(name, value)]);
    for name in [NVIDIA, AMD] {
        for none in ["", "none", "void"] {
            assert_eq!(one(name, none), Ok(None), "{name}={none}");
        }
        assert_eq!(one(name, "all").unwrap().unwrap().count, Count::All);
        let long = "0".repeat(5000);
        for bad in [",", "0,", "card0", "1b:00.0", "-1", "x", "0,0", "3-1", "0-", "0x", &long] {
            let error = one(name, bad).unwrap_err();
            assert_eq!(error.code, Code::BadRequest);
            assert!(error.to_string().starts_with(&format!("`{name}` ")), "{error}");
        }
    }
    let devices = |name: &str, value: &str| {
        let request = one(name, value).unwrap().unwrap();
        assert_eq!(request.count, Count::Exactly(u32::try_from(request.devices.len()).unwrap()));
        assert_eq!((request.amount, request.sharing), (Amount::Whole, Sharing::Exclusive));
        request.devices
    };
    let uuid = |text: &str| Selector::Uuid(text.to_owned());
    let index = Selector::Index;
    assert_eq!(
        devices(NVIDIA, "1, 2:1,GPU-5f1c,MIG-09ab"),
        [index(1), Selector::Instance(2, 1), uuid("GPU-5f1c"), uuid("MIG-09ab")]
    );
    assert_eq!(devices(AMD, "0-2,5"), [index(0), index(1), index(2), index(5)]);
    assert_eq!(
        devices(AMD, "0xAB,5F1C09AB77DE4B1E"),
        [uuid("GPU-00000000000000ab"), uuid("GPU-5f1c09ab77de4b1e")]
    );
    for many in ["0-64", "0-4294967295"] {
        let error = one(AMD, many).unwrap_err();
        assert!(error.message.ends_with("lists more than 64 items"), "{many}: {error}");
    }
    for bad in ["0-2,1", "0xab,0xAB", "GPU-5f1c", "0x12345678901234567"] {
        assert!(one(AMD, bad).is_err(), "{bad}");
    }
    let policy = Policy {
        accept_env: vec![AMD.to_owned()],
        strategy: Strategy::WorstFit,
        ..Policy::default()
    };
    let env = [(AMD.to_owned(), "all".to_owned())];
    let input = Input { annotations: &BTreeMap::new(), env: &env, container_name: None };
    assert_eq!(parse(&input, &policy).unwrap().unwrap().strategy, Strategy::WorstFit);
}

#[test]
fn what_a_container_is_told_is_no_request() {
    let read = |value: &str| with_env(&["GPULEASE_*"], &[("GPULEASE_ENFORCEMENT", value)]);
    assert_eq!(read("compute=driver,memory=advisory"), Ok(None));
    assert_eq!(read("compute=none,memory=simulated"), Ok(None));
    let asked = read("required").unwrap().unwrap();
    assert_eq!((asked.enforcement, asked.amount), (Enforce::Required, Amount::Whole));
    for wrong in ["compute=driver", "compute=much,memory=none", "memory=none,compute=none"] {
        assert_eq!(read(wrong).unwrap_err().code, Code::BadRequest, "{wrong}");
    }
}
