//! One spec, read by runc and crun in different ways: what each makes of a spelling, and that no
//! spelling opens a device that another container holds.

use super::lab::{Lab, PROBES, Place, REAL};
use serde_json::{Value, json};
use std::fs;

/// The held device's node, and the rule for it.
const NODE: &str = r#"{"path":"/dev/given","type":"c","major":10,"minor":237}"#;
const RULE: &str = r#"{"allow":true,"type":"c","major":10,"minor":237,"access":"rw"}"#;

/// What a spec has in the places of the marks, and which runtime then opens the device: runc, crun.
struct Spelling {
    name: &'static str,
    linux: String,
    rule: String,
    top: String,
    around: fn(String) -> Vec<u8>,
    opens: (bool, bool),
}

fn spelling(name: &'static str, opens: (bool, bool)) -> Spelling {
    let (linux, rule, top) = (String::new(), RULE.to_owned(), String::new());
    Spelling { name, linux, rule, top, around: String::into_bytes, opens }
}

/// With the node in `linux`, as this text has it.
fn node(name: &'static str, opens: (bool, bool), linux: &str) -> Spelling {
    Spelling { linux: format!("{linux},").replace("NODE", NODE), ..spelling(name, opens) }
}

/// With this rule alone. The container makes a node for itself.
fn rule(name: &'static str, opens: (bool, bool), from: &str, to: &str) -> Spelling {
    Spelling { rule: RULE.replacen(from, to, 1), ..spelling(name, opens) }
}

/// With the node and the rule, in a text that is changed then.
fn text(name: &'static str, opens: (bool, bool), around: fn(String) -> Vec<u8>) -> Spelling {
    Spelling { around, ..node(name, opens, r#""devices":[NODE]"#) }
}

fn spellings() -> Vec<Spelling> {
    let top = r#""LINUX":{"devices":[NODE],"resources":{"devices":[RULE]}},"#;
    let top = top.replace("NODE", NODE).replace("RULE", RULE);
    let beside =
        |name, opens, top: String| Spelling { top, rule: String::new(), ..spelling(name, opens) };
    let words = r#""ANNOTATIONS":{"gpulease/devices":"1"},"#.to_owned();
    vec![
        node("Devices", (true, true), r#""Devices":[NODE]"#),
        node("long-s", (true, true), r#""device\u017f":[NODE]"#),
        node("twice", (true, true), r#""devices":[],"devices":[NODE]"#),
        node("merged", (true, true), r#""devices":[NODE],"devices":[{"path":"/dev/given"}]"#),
        node(
            "number-twice",
            (true, true),
            r#""devices":[{"path":"/dev/given","type":"c","major":10,"minor":1,"minor":237}]"#,
        ),
        node(
            "beyond-32-bits",
            (true, true),
            r#""devices":[{"path":"/dev/given","type":"c","major":4294967306,"minor":237}]"#,
        ),
        rule("Allow", (true, false), "allow", "Allow"),
        rule("allow-twice", (true, false), r#""allow":true"#, r#""allow":false,"allow":true"#),
        rule("allow-taken-back", (false, true), r#""allow":true"#, r#""allow":true,"allow":false"#),
        rule("major-as-text", (false, true), "10", "\"10\""),
        rule("long-s-in-access", (true, false), "access", "acce\u{17f}\u{17f}"),
        beside("LINUX", (true, false), top.clone()),
        beside("linux-twice", (true, false), top.replace("LINUX", "linux")),
        beside("ANNOTATIONS", (false, false), words.clone()),
        beside("annotations-twice", (false, false), words.to_lowercase()),
        text("garbage-behind", (true, false), |text| format!("{text} garbage").into_bytes()),
        text("nul-behind", (true, true), |text| format!("{text}\0garbage").into_bytes()),
        text("comment", (false, true), |text| text.replacen('{', "{/* \" */", 1).into_bytes()),
        text("half-a-letter", (true, true), |text| {
            text.replacen("\"env\":[", "\"env\":[\"A=\\ud800\",", 1).into_bytes()
        }),
        // What only json-c takes for JSON, in later versions of crun.
        text("single-quotes", (false, false), |text| text.replace('"', "'").into_bytes()),
        text("comma-behind", (false, false), |text| text.replace("]}", "],}").into_bytes()),
        text("words", (false, false), |text| text.replace("true", "True").into_bytes()),
        text("no-utf-8", (true, false), |text| {
            let (before, after) = text.split_once("\"env\":[").unwrap();
            [before.as_bytes(), b"\"env\":[\"A=\xff\",", after.as_bytes()].concat()
        }),
    ]
}

/// A bundle whose container tries the node that it is given, and one that it makes.
fn bundle(lab: &Lab, spelling: &Spelling) {
    lab.bundle_with(spelling.name, &[("kept", "yes")], |spec| {
        let look = "[ ! -c /dev/given ] || try /dev/given; other 10 237; echo END";
        spec["process"]["args"] = json!(["sh", "-c", format!("{PROBES}{look}")]);
        spec["linux"]["resources"]["devices"] = json!([{ "allow": false, "access": "rwm" }]);
    });
    let path = lab.config_json(spelling.name);
    let spec: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let deny = r#"{"access":"rwm","allow":false}"#;
    let first = r#"{"allow":false,"access":"rwm"}"#;
    let mut text = spec.to_string().replace(deny, first);
    let rules =
        if spelling.rule.is_empty() { String::new() } else { format!(",{}", spelling.rule) };
    text = text.replacen(first, &format!("{first}{rules}"), 1);
    text = text.replacen("\"linux\":{", &format!("\"linux\":{{{}", spelling.linux), 1);
    let text = text.strip_suffix('}').unwrap();
    let top = spelling.top.strip_suffix(',').unwrap_or_default();
    let comma = if top.is_empty() { "" } else { "," };
    fs::write(path, (spelling.around)(format!("{text}{comma}{top}}}"))).unwrap();
}

pub fn no_spelling_opens_what_another_one_holds(place: Place) {
    let lab = Lab::new(place, REAL);
    let spellings = spellings();
    spellings.iter().for_each(|spelling| bundle(&lab, spelling));
    lab.bundle("holder", &[("gpulease/devices", "1")], "echo END; sleep 60");
    // What has nothing to do with GPUs starts, however it is spelled.
    let other = node("other", (true, true), r#""Devices":[NODE],"devices":[]"#);
    bundle(
        &lab,
        &Spelling { rule: String::new(), linux: other.linux.replace("237", "235"), ..other },
    );
    let names: Vec<&str> = spellings.iter().map(|spelling| spelling.name).collect();
    let script = format!(
        r#"
        make holder run holder --detach
        for name in {}; do
            step "plain-$name" "$RUNTIME" --root "$ROOT" run --bundle "$B/$name" "$P-$name"
            make "$name" run "$name"
        done
        make other run other
        leases end
        step delete gl delete --force "$P-holder"
        "#,
        names.join(" ")
    );
    let Some(steps) = lab.run(&script) else { return };
    steps.ok("holder");
    for Spelling { name, opens, .. } in &spellings {
        let plain = steps.out(&format!("plain-{name}"));
        let opened = plain.lines().any(|line| line.starts_with("open ") && line.ends_with(": ok"));
        let expected = if place.runtime == "runc" { opens.0 } else { opens.1 };
        let said = steps.err(&format!("plain-{name}"));
        assert_eq!(opened, expected, "{name}, without gpulease: {plain}{said}");
        let refusal = steps.refused(name, "bad-bundle");
        assert!(refusal.contains("may read it in different ways"), "{name}: {refusal}");
    }
    assert!(steps.ok("other").contains("END"));
    assert_eq!(steps.leases("end").len(), 1);
}
