//! What is no plain JSON, or is read in more than one way.

use crate::hosts::Gpu;
use crate::specs::{Spec, given, node, one, plain};

pub fn all(gpus: &[Gpu; 2]) -> Vec<Spec> {
    let Gpu { path, major, minor, .. } = &gpus[0];
    let entry = format!(r#"{{"path":"{path}","type":"c","major":{major},"minor":{minor}}}"#);
    let with = |words: &str| plain().to_string().replacen('{', &format!("{{{words},"), 1);
    let linux = |words: &str| {
        plain().to_string().replacen(r#""linux":{"#, &format!(r#""linux":{{{words},"#), 1)
    };
    let gpu = given(plain(), node(&gpus[0])).to_string();
    let asks = one().to_string();
    let list = [
        ("no-json", "no json".to_owned()),
        ("no-json-of-ours", r#"{"annotations":{"gpulease/count":"1"}"#.to_owned()),
        ("empty", String::new()),
        ("a-list", "[]".to_owned()),
        ("no-object", "{}".to_owned()),
        ("Devices", linux(&format!(r#""Devices":[{entry}]"#))),
        (
            "Devices-of-fuse",
            linux(
                r#""Devices":[{"path":"/dev/fuse","type":"c","major":10,"minor":229}],"devices":[]"#,
            ),
        ),
        ("long-s", linux(&format!(r#""device\u017f":[{entry}]"#))),
        ("twice", linux(&format!(r#""devices":[],"devices":[{entry}]"#))),
        (
            "beyond-32-bits",
            linux(&format!(
                r#""devices":[{{"path":"/dev/x","type":"c","major":{},"minor":{minor}}}]"#,
                u64::from(*major) + (1 << 32)
            )),
        ),
        ("ANNOTATIONS", with(r#""ANNOTATIONS":{"gpulease/devices":"0"}"#)),
        ("annotations-twice", with(r#""annotations":{"gpulease/devices":"0"}"#)),
        (
            "sandbox-twice",
            asks.replacen(
                '{',
                r#"{"annotations":{"io.kubernetes.cri.container-type":"sandbox"},"#,
                1,
            ),
        ),
        ("garbage-behind", format!("{gpu} garbage")),
        ("nul-behind", format!("{gpu}\0garbage")),
        ("garbage-behind-plain", format!("{} garbage", plain())),
        ("comment", gpu.replacen('{', "{/* \" */", 1)),
        ("comment-asks", asks.replacen('{', "{/* \" */", 1)),
        ("half-a-letter", with(r#""odd":"\ud800""#)),
        ("half-a-letter-asks", asks.replacen('{', r#"{"odd":"\ud800","#, 1)),
        ("deep", with(&format!(r#""odd":{}{}"#, "[".repeat(200), "]".repeat(200)))),
        ("single-quotes", gpu.replace('"', "'")),
        ("comma-behind", gpu.replace("]}", "],}")),
    ];
    list.map(|(name, text)| (name.to_owned(), text.into_bytes())).to_vec()
}
