//! `gpulease explain`: the answer that a request would get now.

use super::output::{Answer, Output, Paint};
use super::table::Table;
use super::{words, wrap};
use crate::allocator::{Grant, Verdict};
use crate::failure::Failure;
use crate::host::Host;
use crate::model::code::Code;
use crate::model::device::Vendor;
use crate::model::isolation::Isolation;
use crate::model::text::shown;
use crate::request::keys::{KEYS, Key, PREFIX};
use crate::request::{self, Amount};
use crate::start::SpecFault;
use crate::start::planned::{PlannedContainer, PlannedOutcome, PlannedRequest, plan};
use crate::view::annotations::AnnotationKeys;
use crate::view::plan::{PlannedGrant, StartPlan, isolation_text};
use crate::view::request::request_text;
use std::collections::BTreeMap;
use std::path::Path;

const KEYS_BEFORE: &str = "A container asks for devices by these annotations:\n";

const KEYS_AFTER: &str = "\
Example:
  docker run --runtime gpulease --annotation gpulease/count=2 \\
    --annotation gpulease/vendor=nvidia IMAGE
";

/// `explain` without a request: the annotations.
pub(super) fn keys(output: &Output) -> Answer {
    let paragraphs: Vec<String> = KEYS.iter().map(|key| paragraph(key, output)).collect();
    let text = format!("{KEYS_BEFORE}\n{}\n{KEYS_AFTER}", paragraphs.join("\n"));
    Answer::of(text, &AnnotationKeys::all())
}

fn paragraph(key: &Key, output: &Output) -> String {
    let mut text = format!("{}\n", output.paint(Paint::Bold, key.name));
    let mut line = |title: &str, value: &str| text.push_str(&wrap::wrapped(title, value));
    line("    ", key.meaning);
    // A list of words without spaces could not be broken.
    line("    value:   ", &key.syntax.replace("`|`", "` | `"));
    line("    default: ", key.default);
    if let Some(alias) = key.alias {
        line("    alias:   ", &format!("{}, {}", alias.name, alias.syntax));
    }
    if let Some(note) = key.support.note() {
        line("    note:    ", &note);
    }
    text
}

/// `explain` with a request: the answer that a start would get now, by the rules of a start.
pub(super) fn explain(
    host: &Host,
    arguments: &[String],
    bundle: Option<&Path>,
    user: Option<u32>,
    output: &Output,
) -> Result<Answer, Failure> {
    let annotations = annotations_of(arguments)?;
    let start = plan(host, PlannedContainer { annotations, bundle, user })?;
    let view = StartPlan::of(&start);
    let (mut text, status) = match &start.outcome {
        PlannedOutcome::NoRequest { injected } => (no_request(*injected), 0),
        PlannedOutcome::Cleaned { vendor } => (cleaned(*vendor), 0),
        PlannedOutcome::Granted(planned, grant) => {
            let devices = view.grant.as_ref();
            let text = devices.map(|devices| granted(planned, grant, devices, output));
            (text.unwrap_or_default(), 0)
        }
        PlannedOutcome::Refused(planned, refusal) => {
            (refused(planned, refusal, output), refusal.code.exit_status())
        }
    };
    text.push_str(&start.spec_fault.as_ref().map_or_else(String::new, warning));
    Ok(Answer { status, ..Answer::of(text, &view) })
}

fn warning(fault: &SpecFault) -> String {
    let SpecFault { path, message } = fault;
    let at = if path == "." { String::new() } else { format!(" at `{path}`") };
    let text = format!("the low-level runtime may reject config.json{at}: {message}");
    wrap::wrapped("warning: ", &text)
}

/// The container that the answer is for, where no option names it and it matters.
const FOR_ROOT: &str = "this is for a container of user 0, and an MPS daemon serves one user; \
                        --user UID asks for another's";

/// `count=1` and `gpulease/count=1` are the same. Keys of other projects are given whole.
fn annotations_of(arguments: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut annotations = BTreeMap::new();
    let bad = |text: String| Failure::new(Code::BadRequest, text);
    for argument in arguments {
        let Some((key, value)) = argument.split_once('=') else {
            let text = format!("`{}` is not KEY=VALUE", shown(argument));
            return Err(bad(text).hint("for instance count=1"));
        };
        let key = if key.contains('/') { key.to_owned() } else { format!("{PREFIX}{key}") };
        // A start ignores annotations that are not of a request, so the answer would be misleading.
        if !request::is_request_key(&key) {
            let text = format!("`{}` is not an annotation of a request", shown(&key));
            return Err(bad(text).hint("`gpulease explain` lists them"));
        }
        if annotations.insert(key.clone(), value.to_owned()).is_some() {
            return Err(bad(format!("`{}` is given twice", shown(&key))));
        }
    }
    Ok(annotations)
}

fn no_request(injected: bool) -> String {
    let mut text = "no request: the container would start without a lease, untouched\n".to_owned();
    if injected {
        text.push_str(&wrap::wrapped(
            "note: ",
            "the engine has put device nodes, device rules, mounts or a vendor's hook into the spec; \
             no GPU that gpulease leases is among them, or `policy.injected` is `ignore`",
        ));
    }
    text
}

fn cleaned(vendor: Option<Vendor>) -> String {
    let edit = match vendor {
        Some(vendor) => format!("{}'s runtime is told to give it no GPU", vendor.name()),
        None => "the traces of an earlier lease are removed from its spec".to_owned(),
    };
    let text = format!("no request: the container would start without a lease; {edit}");
    wrap::wrapped("", &text)
}

fn granted(
    planned: &PlannedRequest,
    grant: &Grant,
    view: &PlannedGrant<'_>,
    output: &Output,
) -> String {
    let (request, node) = (&planned.asked.request, &planned.asked.inventory.node);
    let table = Table::of(&view.devices)
        .right("INDEX", 0, |row| row.granted.place().to_string())
        .left("UUID", 0, |row| words::uuid(&row.granted.uuid, node, false).to_owned())
        .left("MODEL", 0, |row| row.device.map(|device| shown(&device.model)).unwrap_or_default())
        .right("COMPUTE", 0, |row| row.granted.milli.to_string())
        .right("MEMORY", 0, |row| words::memory_if_known(row.granted.memory))
        .left("SHARING", 0, |row| row.granted.sharing.to_string())
        .left("STATE", 0, |row| row.device.map(words::state).unwrap_or_default());
    let mut text = wrap::wrapped("request: ", &request_text(request));
    let count = words::count(grant.devices.len(), "device");
    text.push_str(&format!("granted: {count}, if it started now; nothing was taken\n\n"));
    text.push_str(&table.render(false, output));
    let isolation = &grant.isolation;
    let named = !matches!(request.isolation, Isolation::Auto | Isolation::None);
    if named || request.amount != Amount::Whole || isolation.effective != Isolation::None {
        text.push('\n');
        text.push_str(&wrap::wrapped("isolation: ", &isolation_text(request, grant)));
        for lack in &isolation.missing {
            text.push_str(&wrap::wrapped("lacks: ", &shown(lack)));
        }
    }
    if planned.user_matters {
        text.push_str(&wrap::wrapped("note: ", FOR_ROOT));
    }
    let devices = || view.devices.iter().filter_map(|row| row.device);
    if devices().count() > 1 && devices().any(|device| device.instance().is_some()) {
        text.push_str(&wrap::wrapped(
            "note: ",
            "a CUDA process uses one MIG instance and no other device beside it: the first of \
             CUDA_VISIBLE_DEVICES, which each process may set for itself",
        ));
    }
    text.push_str(&words::simulated_footer(devices(), output));
    text
}

fn refused(planned: &PlannedRequest, refusal: &Failure, output: &Output) -> String {
    let titled = |title: &str, paint, text: &str| {
        let title = format!("{title}: ");
        let word = title.trim_end();
        wrap::wrapped(&title, text).replacen(word, &output.paint(paint, word), 1)
    };
    let mut text = wrap::wrapped("request: ", &request_text(&planned.asked.request));
    let summary = format!("{}: {}", refusal.code, refusal.message);
    text.push_str(&titled("refused", Paint::Red, &summary));
    if !refusal.verdicts().is_empty() {
        text.push('\n');
        text.push_str(&verdicts(refusal.verdicts(), output));
        text.push('\n');
    }
    if let Some(hint) = &refusal.hint {
        text.push_str(&titled("hint", Paint::Cyan, hint));
    }
    if planned.user_matters {
        text.push_str(&wrap::wrapped("note: ", FOR_ROOT));
    }
    text
}

/// A row for each device that the request names. The others are counted by their reasons.
fn verdicts(verdicts: &[Verdict], output: &Output) -> String {
    let (unnamed, asked): (Vec<&Verdict>, Vec<_>) = verdicts.iter().partition(|v| v.is_unnamed());
    let table = Table::of(&asked)
        .right("INDEX", 0, |verdict| verdict.place().to_string())
        .left("MODEL", 0, |verdict| verdict.model.clone())
        .left("VERDICT", 0, |verdict| verdict.reason.clone());
    let mut text = String::new();
    if !asked.is_empty() {
        text.push_str(&table.render(false, output));
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for verdict in unnamed {
        *counts.entry(&verdict.reason).or_default() += 1;
    }
    for (reason, count) in counts {
        text.push_str(&wrap::wrapped("", &format!("{}: {reason}", words::count(count, "device"))));
    }
    text
}
