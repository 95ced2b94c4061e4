//! Good and bad values of each key.

use super::*;
use crate::model::device::{PciAddress, Vendor};
use crate::model::driver::Capability;
use crate::model::isolation::Isolation;
use crate::model::lease::Sharing;
use crate::model::quantity::MIB;
use std::time::Duration;

#[test]
fn counts() {
    assert_eq!(asked(&[("gpulease/count", "1")]).count, Count::Exactly(1));
    assert_eq!(asked(&[("gpulease/count", "1024")]).count, Count::Exactly(1024));
    assert_eq!(asked(&[("gpulease/count", "all")]).count, Count::All);
    let shared = asked(&[("gpulease/count", "all"), ("gpulease/compute", "0.5")]);
    assert_eq!((shared.count, shared.amount), (Count::All, share(Some(500), None)));
    for bad in ["0", "1025", "-1", "+1", "1.0", "ALL", "two", "99999999999", " 1"] {
        let (code, text) = refused(&[("gpulease/count", bad)]);
        assert_eq!(code, Code::BadRequest, "{bad}");
        assert!(text.starts_with(&format!("`gpulease/count` is `{bad}`, ")), "{text}");
        assert!(text.ends_with("allowed is `1` to `1024`, or `all`"), "{text}");
    }
}

#[test]
fn device_lists() {
    let request = asked(&[(
        "gpulease/devices",
        "0, 2:1,GPU-5f1c09ab,MIG-09ab,gpu-ABCD-p1,1b:00.0,card1,renderD128",
    )]);
    let pci = PciAddress::parse("0000:1b:00.0").unwrap();
    let uuid = |text: &str| Selector::Uuid(text.to_owned());
    assert_eq!(
        request.devices,
        [
            Selector::Index(0),
            Selector::Instance(2, 1),
            uuid("GPU-5f1c09ab"),
            uuid("MIG-09ab"),
            uuid("gpu-ABCD-p1"),
            Selector::Pci(pci),
            Selector::Card(1),
            Selector::Render(128),
        ]
    );
    assert_eq!(request.count, Count::Exactly(8));
    let some = asked(&[("gpulease/devices", "0,1,2"), ("gpulease/count", "2")]);
    assert_eq!((some.count, some.devices.len()), (Count::Exactly(2), 3));
    let all = asked(&[("gpulease/devices", "0,1,2"), ("gpulease/count", "all")]);
    assert_eq!(all.count, Count::All);

    let (_, text) = refused(&[("gpulease/devices", "0,1"), ("gpulease/count", "3")]);
    assert_eq!(text, "`gpulease/count` is `3`, but `gpulease/devices` lists 2");
    for bad in [
        ",",
        "0,",
        "0,,1",
        "GPU-5f1",
        "GPU-",
        "GPU-zzzz",
        "GPU-5f1c/../x",
        "card",
        "card-1",
        "-1",
        "renderD",
        "1b:00",
        "/dev/dri/card0",
        "all",
        "4294967296",
        "5f1c09ab-1111",
    ] {
        let (code, text) = refused(&[("gpulease/devices", bad)]);
        assert_eq!(code, Code::BadRequest, "{bad}");
        assert!(text.contains("which names no device"), "{text}");
    }
    for (twice, item) in [
        ("0,1,0", "0"),
        ("0,00", "00"),
        ("GPU-ABCD,gpu-abcd", "gpu-abcd"),
        ("1b:0.0,1B:0.0", "1B:0.0"),
    ] {
        let (_, text) = refused(&[("gpulease/devices", twice)]);
        assert_eq!(text, format!("`gpulease/devices` lists `{item}` twice"));
    }
    let long = |n: u32| (0..n).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
    assert_eq!(asked(&[("gpulease/devices", &long(64))]).devices.len(), 64);
    let (_, text) = refused(&[("gpulease/devices", &long(65))]);
    assert_eq!(text, "`gpulease/devices` lists more than 64 items");
}

#[test]
fn vendors_and_models() {
    assert_eq!(asked(&[("gpulease/vendor", "nvidia")]).vendor, Some(Vendor::Nvidia));
    assert_eq!(asked(&[("gpulease/vendor", "amd")]).vendor, Some(Vendor::Amd));
    let (_, text) = refused(&[("gpulease/vendor", "matrox")]);
    assert_eq!(
        text,
        "`gpulease/vendor` is `matrox`, which is not known; allowed is `nvidia`|`amd`|`intel`"
    );
    assert_eq!(asked(&[("gpulease/model", "h100*")]).model.as_deref(), Some("h100*"));
    for bad in ["a\nb", " ", "\u{1b}[31m", &"x".repeat(129)] {
        let (code, text) = refused(&[("gpulease/model", bad)]);
        assert_eq!(code, Code::BadRequest);
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}

#[test]
fn compute_shares() {
    for (text, milli) in [
        ("0.5", 500),
        (".5", 500),
        ("0.500000000", 500),
        ("50%", 500),
        ("12.5%", 125),
        ("500m", 500),
        ("0.123", 123),
        ("0.1", 100),
        ("100m", 100),
        ("10%", 100),
        ("0.999", 999),
    ] {
        let request = asked(&[("gpulease/compute", text)]);
        assert_eq!(request.amount, share(Some(milli), None), "{text}");
        assert_eq!(request.sharing, Sharing::Shared, "{text}");
    }
    for whole in ["1", "1.0", "1.000000", "100%", "1000m", "01"] {
        let request = asked(&[("gpulease/compute", whole)]);
        assert_eq!((request.amount, request.sharing), (Amount::Whole, Sharing::Exclusive));
    }
    for (bad, reason) in [
        ("0.05", "which is less than a tenth of a device"),
        ("99m", "which is less than a tenth of a device"),
        ("0", "which is less than a tenth of a device"),
        ("1.1", "which is more than a whole device"),
        ("101%", "which is more than a whole device"),
        ("18446744073709551615m", "which is more than a whole device"),
        ("0.1234", "which is not a whole number of thousandths of a device"),
        ("33.33%", "which is not a whole number of thousandths of a device"),
        ("1.0001", "which is not a whole number of thousandths of a device"),
        ("-0.5", "which is not a number"),
        ("+0.5", "which is not a number"),
        ("0.5.0", "which is not a number"),
        ("5e-1", "which is not a number"),
        ("1.", "which is not a number"),
        (".", "which is not a number"),
        ("%", "which is not a number"),
        ("0,5", "which is not a number"),
        ("50 %", "which is not a number"),
        ("NaN", "which is not a number"),
        ("٥", "which is not a number"),
        ("1000000000000000000000000000000000000000", "which is too large or has too many digits"),
    ] {
        let (code, text) = refused(&[("gpulease/compute", bad)]);
        assert_eq!(code, Code::BadRequest, "{bad}");
        let start = format!("`gpulease/compute` is `{bad}`, {reason}; allowed is 0.1 to 1 ");
        assert!(text.starts_with(&start), "{text}");
    }
}

#[test]
fn memory_shares() {
    for (text, bytes) in [
        ("4000", 4000 * MIB),
        ("1Ki", 1024),
        ("8Gi", 8 << 30),
        ("1.5Gi", 3 << 29),
        (".5Gi", 1 << 29),
        ("1Ti", 1 << 40),
        ("512Mi", 512 * MIB),
        ("8k", 8_000),
        ("8M", 8_000_000),
        ("8G", 8_000_000_000),
        ("1T", 1_000_000_000_000),
        // 107374182.4 bytes: rounded up, as Kubernetes does.
        ("0.1Gi", 107_374_183),
    ] {
        let request = asked(&[("gpulease/memory", text)]);
        let memory = Some(Bytes(bytes));
        assert_eq!(request.amount, Amount::Share { compute: None, memory }, "{text}");
        assert_eq!(request.sharing, Sharing::Shared);
        let request = asked(&[("gpulease/min-memory", text)]);
        assert_eq!((request.amount, request.min_memory), (Amount::Whole, memory), "{text}");
    }
    for bad in [
        "0",
        "0Gi",
        "0.0Gi",
        "-1",
        "-1Gi",
        "+1",
        "1.5",
        "8GiB",
        "8gi",
        "8K",
        "8 Gi",
        "Gi",
        "1e3",
        "G",
        "18446744073709551616",
        "17592186044416",
        "99999999999999Ti",
        "1m",
    ] {
        for key in ["gpulease/memory", "gpulease/min-memory"] {
            let (code, text) = refused(&[(key, bad)]);
            assert_eq!(code, Code::BadRequest, "{bad}");
            assert!(text.starts_with(&format!("`{key}` is `{bad}`, which is ")), "{text}");
        }
    }
}

#[test]
fn shares_decide_about_sharing() {
    let one_and_memory = asked(&[("gpulease/compute", "1"), ("gpulease/memory", "8Gi")]);
    assert_eq!(one_and_memory.amount, share(Some(1000), Some(8192)));
    assert_eq!(one_and_memory.sharing, Sharing::Shared);
    let one_shared = asked(&[("gpulease/compute", "1"), ("gpulease/sharing", "shared")]);
    assert_eq!(one_shared.amount, share(Some(1000), None));
    let one_alone = asked(&[("gpulease/compute", "1"), ("gpulease/sharing", "exclusive")]);
    assert_eq!((one_alone.amount, one_alone.sharing), (Amount::Whole, Sharing::Exclusive));

    let (code, text) = refused(&[("gpulease/sharing", "exclusive"), ("gpulease/compute", "0.5")]);
    assert_eq!(code, Code::BadRequest);
    assert_eq!(
        text,
        "`gpulease/sharing` is `exclusive` (the whole device), but `gpulease/compute` is `0.5` \
         (a share)"
    );
    let (_, text) = refused(&[("gpulease/sharing", "exclusive"), ("gpulease/memory", "8Gi")]);
    assert!(text.contains("`gpulease/memory` is `8Gi`"), "{text}");
    let (_, text) = refused(&[("gpulease/sharing", "shared")]);
    assert!(text.contains("no share of compute or memory"), "{text}");
    assert_eq!(refused(&[("gpulease/sharing", "true")]).0, Code::BadRequest);
}

#[test]
fn isolation_is_taken_whatever_it_is() {
    for isolation in Isolation::ALL {
        let request = asked(&[("gpulease/isolation", isolation.as_str())]);
        assert_eq!(request.isolation, isolation);
    }
    assert_eq!(refused(&[("gpulease/isolation", "MPS")]).0, Code::BadRequest);
}

#[test]
fn strategies() {
    for (text, strategy) in [
        ("first-fit", Strategy::FirstFit),
        ("best-fit", Strategy::BestFit),
        ("worst-fit", Strategy::WorstFit),
        ("minimize_fragmentation", Strategy::BestFit),
        ("distributed_small_instances", Strategy::WorstFit),
    ] {
        assert_eq!(asked(&[("gpulease/strategy", text)]).strategy, strategy, "{text}");
    }
    assert_eq!(refused(&[("gpulease/strategy", "fastest")]).0, Code::BadRequest);

    let policy = Policy { strategy: Strategy::WorstFit, ..Policy::default() };
    let parse_with = |pairs| {
        let annotations = map(pairs);
        parse(&Input { annotations: &annotations, env: &[], container_name: None }, &policy)
    };
    let configured = parse_with(&[("gpulease/count", "1")]).unwrap().unwrap();
    assert_eq!(configured.strategy, Strategy::WorstFit);
    let own = parse_with(&[("gpulease/strategy", "first-fit")]).unwrap().unwrap();
    assert_eq!(own.strategy, Strategy::FirstFit);
    assert_eq!(parse_with(&[]), Ok(None));
}

#[test]
fn the_rest_of_the_keys() {
    assert_eq!(asked(&[("gpulease/topology", "none")]).topology, Topology::None);
    assert_eq!(asked(&[("gpulease/topology", "preferred")]).topology, Topology::Preferred);
    for (text, priority) in [("0", 0), ("7", 7), ("low", 1), ("normal", 5), ("high", 10)] {
        assert_eq!(asked(&[("gpulease/priority", text)]).priority, priority);
    }
    assert_eq!(asked(&[("gpulease/priority", "urgent")]).priority, 15);
    for (text, workload) in [
        ("ml", "training"),
        ("domain-learning", "training"),
        ("ai", "inference"),
        ("agent-workflow", "inference"),
        ("embedding_generation", "embedding"),
        ("ocr", "ocr"),
        ("graph-processing", "graph_processing"),
        ("batch_processing", "generic"),
    ] {
        assert_eq!(asked(&[("gpulease/workload", text)]).workload.as_deref(), Some(workload));
    }
    let request = asked(&[("gpulease/capabilities", "utility, compute")]);
    assert_eq!(request.capabilities, Some(vec![Capability::Utility, Capability::Compute]));
    assert_eq!(asked(&[("gpulease/capabilities", " none ")]).capabilities, Some(Vec::new()));
    for zero in ["0", "0s", "0m"] {
        assert!(annotated(&[("gpulease/wait", zero)]).is_ok(), "{zero}");
    }
    for (key, value) in [
        ("gpulease/topology", "yes"),
        ("gpulease/enforcement", "strict"),
        ("gpulease/priority", "-1"),
        ("gpulease/priority", "4294967296"),
        ("gpulease/priority", "highest"),
        ("gpulease/workload", "gaming"),
        ("gpulease/capabilities", "compute,ngx"),
        ("gpulease/capabilities", "compute,compute"),
        ("gpulease/capabilities", "none,compute"),
        ("gpulease/capabilities", "None"),
        ("gpulease/wait", "soon"),
        ("gpulease/wait", "-1s"),
        ("gpulease/wait", "30"),
        ("gpulease/ttl", "0"),
        ("gpulease/ttl", "forever"),
        ("gpulease/mig-profile", "big"),
        ("gpulease/mig-profile", "0g.10gb"),
        ("gpulease/mig-profile", "1g.10gb+"),
        ("gpulease/devices", "0:"),
        ("gpulease/devices", "0:1:2"),
        ("gpulease/devices", "0:1,0:1"),
        ("gpulease/lease", "short"),
        ("gpulease/lease", "../../etc/passwd-and-more"),
    ] {
        let (code, text) = refused(&[(key, value)]);
        assert_eq!(code, Code::BadRequest, "{key}={value}");
        assert!(text.starts_with(&format!("`{key}` ")), "{text}");
    }
}

#[test]
fn unsupported_values_are_named_last() {
    for (key, value) in [
        ("gpulease/topology", "required"),
        ("gpulease/wait", "30s"),
        ("gpulease/wait", "5m"),
        ("gpulease/ttl", "8h"),
        ("gpulease/strategy", "round-robin"),
        ("gpulease/strategy", "load-balanced"),
        ("gpulease/strategy", "hybrid_dynamic"),
        ("gpulease/strategy", "single_large_instance"),
    ] {
        let error = annotated(&[(key, value)]).unwrap_err();
        assert_eq!(error.code, Code::NotSupportedYet, "{key}={value}");
        assert_eq!(error.to_string(), format!("`{key}` is `{value}`, which is not supported yet"));
        assert!(error.hint.unwrap().starts_with(&format!("leave `{key}` out")));
        // A wrong value is reported before an unsupported one, because it stays wrong in later
        // versions.
        let (code, text) = refused(&[(key, value), ("gpulease/workload", "gaming")]);
        assert_eq!(code, Code::BadRequest, "{text}");
        let (code, text) = refused(&[(key, value), ("gpulease/sharing", "shared")]);
        assert_eq!(code, Code::BadRequest, "{text}");
    }
}

#[test]
fn a_wait_longer_than_the_policy_allows_is_denied() {
    let error = annotated(&[("gpulease/wait", "6m")]).unwrap_err();
    assert_eq!(error.code, Code::PolicyDenied);
    assert_eq!(
        error.to_string(),
        "`gpulease/wait` is `6m`, but the configuration allows at most 5m"
    );
    let policy = Policy { max_wait: Duration::ZERO, ..Policy::default() };
    let annotations = map(&[("gpulease/wait", "0")]);
    let input = Input { annotations: &annotations, env: &[], container_name: None };
    assert!(parse(&input, &policy).is_ok());
}

#[test]
fn a_token_is_never_repeated() {
    let secret = "5f1c09ab77de4b1e8c5d2f3a9b6e7c10";
    for value in [secret.to_owned(), format!("{secret}!")] {
        let error = annotated(&[("gpulease/lease", &value)]).unwrap_err();
        assert!(!format!("{error} {error:?} {:?}", error.hint).contains("5f1c"), "{error}");
    }
}
