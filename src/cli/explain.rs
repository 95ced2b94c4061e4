//! `gpulease explain`: what a request would get now, or why it would be refused.

use super::output::{Answer, Output, Paint};
use super::table::Table;
use super::{request as shown_request, words};
use crate::allocator::{Grant, GrantedDevice, Requester, Verdict};
use crate::config::MpsDaemon;
use crate::failure::Failure;
use crate::host::Host;
use crate::injection::Facts;
use crate::model::code::Code;
use crate::model::device::{Node, Vendor};
use crate::model::isolation::{Enforcement, Isolation};
use crate::model::text::shown;
use crate::request::keys::{KEYS, Key, PREFIX};
use crate::request::{self, Amount, Request};
use crate::start::bundle::{CONFIG, fixed, is_fixed, read_limited};
use crate::start::lowlevel::{self, RuntimeKind};
use crate::start::{self, Asked, Launch, SpecFault, bad_bundle};
use nix::unistd::Uid;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const KEYS_BEFORE: &str = "A container asks for devices by these annotations:\n";

const KEYS_AFTER: &str = "\
Example:
  docker run --runtime gpulease --annotation gpulease/count=2 \\
    --annotation gpulease/vendor=nvidia IMAGE
";

/// `explain` without a request: the annotations.
pub(super) fn keys(output: &Output) -> Answer {
    let json = KEYS.iter().map(|key| {
        json!({
            "key": key.name,
            "env": key.env,
            "value": key.syntax,
            "default": key.default,
            "meaning": key.meaning,
            "example": key.example,
            "note": key.support.note(),
            "alias": key.alias.map(|alias| json!({ "key": alias.name, "value": alias.syntax })),
        })
    });
    let paragraphs: Vec<String> = KEYS.iter().map(|key| paragraph(key, output)).collect();
    Answer::new(format!("{KEYS_BEFORE}\n{}\n{KEYS_AFTER}", paragraphs.join("\n")), json.collect())
}

fn paragraph(key: &Key, output: &Output) -> String {
    let mut text = format!("{}\n", output.paint(Paint::Bold, key.name));
    let mut line = |title: &str, what: &str| text.push_str(&words::wrapped(title, what));
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
    let runtime = lowlevel::choose(host);
    let (runtime, fault) = match &runtime {
        Ok(choice) => (choice.path.as_path(), choice.fault.clone()),
        Err(fault) => (Path::new(""), Some(fault.clone())),
    };
    let dir = bundle.map(|dir| std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()));
    let config = dir.as_ref().map(|dir| dir.join(CONFIG));
    let is_fixed = |config: &&PathBuf| is_fixed(config, RuntimeKind::of(runtime));
    let launch = Launch {
        bundle: dir.as_deref(),
        vendor: lowlevel::vendor_of(runtime),
        fault: fault.or_else(|| config.as_ref().filter(is_fixed).map(|config| fixed(config))),
        inventory: Host::inventory_now,
        by_root: !Uid::effective().is_root(),
        ..Launch::by(runtime)
    };
    let read = |config: &PathBuf| read_limited(config).map_err(|error| bad_bundle(&error));
    let spec = config.as_ref().map(read).transpose()?;
    let fault = spec.as_deref().map(start::fault_of);
    let mut answer = answer(host, &launch, spec, words_of(arguments)?, user, output)?;
    if let Some(fault) = fault {
        answer.text.push_str(&fault.as_ref().map_or_else(String::new, warning));
        set(&mut answer, "spec_fault", json!(fault));
    }
    Ok(answer)
}

fn warning(fault: &SpecFault) -> String {
    let SpecFault { path, message } = fault;
    let at = if path == "." { String::new() } else { format!(" at `{path}`") };
    let text = format!("the low-level runtime may reject config.json{at}: {message}");
    words::wrapped("warning: ", &text)
}

fn answer(
    host: &Host,
    launch: &Launch<'_>,
    spec: Option<Vec<u8>>,
    words: BTreeMap<String, String>,
    user: Option<u32>,
    output: &Output,
) -> Result<Answer, Failure> {
    let is_assumed = spec.is_none() && user.is_none();
    let facts = match &spec {
        Some(spec) if words.is_empty() => start::concerns_us(spec, launch.vendor)?,
        Some(spec) => Some(start::facts_of(spec, launch.vendor)?),
        None => Some(Facts::usual()),
    };
    let Some(mut facts) = facts else { return Ok(no_request(None)) };
    facts.annotations.extend(words);
    let spec = spec.unwrap_or_else(|| b"{}".to_vec());
    let mut ask = match start::interpret_facts(host, launch, spec, facts.clone())? {
        start::Interpretation::Ask(ask) => ask,
        start::Interpretation::Untouched(_) => return Ok(no_request(Some(&facts))),
        start::Interpretation::Cleaned(_) => return Ok(cleaned(launch.vendor)),
    };
    // Without a bundle it is root's, as most are.
    let own = ask.requester(host);
    let uid = user.or(if is_assumed { Some(0) } else { own.uid });
    let requester = Requester { uid, ..own };
    let mut answer = match start::foresee(host, launch, &mut ask, requester) {
        Ok(grant) => {
            // Leases by MPS then share a daemon, and with it a user.
            let by_user = grant.isolation.effective == Isolation::Mps
                && ask.asked.config.mps.daemon == MpsDaemon::Device;
            granted(&ask.asked, &grant, is_assumed && by_user, output)
        }
        Err(refusal) if refusal.details.is_some() => {
            let by_user = refusal.verdicts().iter().any(Verdict::is_by_user);
            let mut answer = refused(&ask.asked.request, &refusal, output);
            if is_assumed && by_user {
                answer.text.push_str(&words::wrapped("note: ", FOR_ROOT));
            }
            answer
        }
        Err(failure) => return Err(failure),
    };
    set(&mut answer, "user", json!(uid));
    Ok(answer)
}

/// Which container the answer is for, where no option says so and it matters.
const FOR_ROOT: &str = "this is for a container of user 0, and an MPS daemon serves one user; \
                        --user UID asks for another's";

fn set(answer: &mut Answer, key: &str, value: Value) {
    if let Some(map) = answer.json.as_object_mut() {
        map.insert(key.to_owned(), value);
    }
}

/// `count=1` and `gpulease/count=1` are the same; other projects' keys are given whole.
fn words_of(arguments: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut words = BTreeMap::new();
    for argument in arguments {
        let Some((key, value)) = argument.split_once('=') else {
            let text = format!("`{}` is not KEY=VALUE", shown(argument));
            return Err(Failure::new(Code::BadRequest, text).hint("for instance count=1"));
        };
        let key = if key.contains('/') { key.to_owned() } else { format!("{PREFIX}{key}") };
        // Somebody else's annotation would be passed over, and the answer be to another question.
        if !request::is_request_key(&key) {
            let text = format!("`{}` is not an annotation of a request", shown(&key));
            return Err(Failure::new(Code::BadRequest, text).hint("`gpulease explain` lists them"));
        }
        if words.insert(key.clone(), value.to_owned()).is_some() {
            let text = format!("`{}` is given twice", shown(&key));
            return Err(Failure::new(Code::BadRequest, text));
        }
    }
    Ok(words)
}

fn no_request(facts: Option<&Facts>) -> Answer {
    let mut text = "no request: the container would start without a lease, untouched\n".to_owned();
    let injected = facts.is_some_and(Facts::may_be_injected);
    if injected {
        text.push_str(&words::wrapped(
            "note: ",
            "the engine has put device nodes, device rules, mounts or a vendor's hook into the spec; \
             no GPU that gpulease leases is among them, or `policy.injected` is `ignore`",
        ));
    }
    Answer::new(text, json!({ "request": null, "injected": injected }))
}

fn cleaned(vendor: Option<Vendor>) -> Answer {
    let what = match vendor {
        Some(vendor) => format!("{}'s runtime is told to give it no GPU", vendor.name()),
        None => "what an earlier lease left in its spec is taken out".to_owned(),
    };
    let text = format!("no request: the container would start without a lease; {what}");
    let json = json!({ "request": null, "injected": false, "cleaned": true });
    Answer::new(words::wrapped("", &text), json)
}

fn granted(asked: &Asked, grant: &Grant, for_root: bool, output: &Output) -> Answer {
    let (request, node) = (&asked.request, &asked.inventory.node);
    let isolation = &grant.isolation;
    let device = |granted: &GrantedDevice| node.device(&granted.uuid);
    let model = |granted: &GrantedDevice| device(granted).map(|device| shown(&device.model));
    let table = Table::of(&grant.devices)
        .right("INDEX", 0, |granted| granted.place().to_string())
        .left("UUID", 0, |granted| words::uuid(&granted.uuid, node, false).to_owned())
        .left("MODEL", 0, |granted| model(granted).unwrap_or_default())
        .right("COMPUTE", 0, |granted| granted.milli.to_string())
        .right("MEMORY", 0, |granted| words::memory_if_known(granted.memory))
        .left("SHARING", 0, |granted| granted.sharing.to_string())
        .left("STATE", 0, |granted| device(granted).map(words::state).unwrap_or_default());
    let mut text = asked_for(request);
    let count = words::count(grant.devices.len(), "device");
    text.push_str(&format!("granted: {count}, if it started now; nothing was taken\n\n"));
    text.push_str(&table.render(false, output));
    let named = !matches!(request.isolation, Isolation::Auto | Isolation::None);
    if named || request.amount != Amount::Whole || isolation.effective != Isolation::None {
        text.push('\n');
        text.push_str(&words::wrapped("isolation: ", &isolated(request, grant)));
        for lack in &isolation.lacks {
            text.push_str(&words::wrapped("lacks: ", &shown(lack)));
        }
    }
    if for_root {
        text.push_str(&words::wrapped("note: ", FOR_ROOT));
    }
    let devices = || grant.devices.iter().filter_map(|granted| node.device(&granted.uuid));
    if devices().count() > 1 && devices().any(|device| device.instance().is_some()) {
        text.push_str(&words::wrapped(
            "note: ",
            "a CUDA process uses one MIG instance and no other device beside it: the first of \
             CUDA_VISIBLE_DEVICES, which each process may set for itself",
        ));
    }
    text.push_str(&words::simulated_footer(devices(), output));
    let devices: Vec<Value> = grant.devices.iter().map(|one| device_json(one, node)).collect();
    let json = json!({
        "request": shown_request::json(request),
        "grant": { "devices": devices, "isolation": isolation },
    });
    Answer::new(text, json)
}

/// With what else is known of it.
fn device_json(granted: &GrantedDevice, node: &Node) -> Value {
    let mut value = json!(granted);
    if let (Some(map), Some(device)) = (value.as_object_mut(), node.device(&granted.uuid)) {
        map.insert("model".to_owned(), json!(device.model));
        map.insert("simulated".to_owned(), json!(device.simulated));
    }
    value
}

/// What is in effect and who enforces it; what was asked for, where that is something else.
fn isolated(request: &Request, grant: &Grant) -> String {
    let isolation = &grant.isolation;
    let enforced = match [isolation.compute_enforcement, isolation.memory_enforcement] {
        [compute, memory] if compute == memory => format!("compute and memory {}", held(compute)),
        [compute, memory] => format!("compute {}, memory {}", held(compute), held(memory)),
    };
    let word = isolation.requested_as.unwrap_or(isolation.requested);
    let is_other =
        word != isolation.effective && !matches!(word, Isolation::Auto | Isolation::None);
    let asked = match (is_other, request.amount) {
        (false, _) => String::new(),
        (true, Amount::Whole) if isolation.effective == Isolation::None => {
            format!(": {word} is for shares, and a whole device is asked for")
        }
        (true, _) => format!(" in place of {word}"),
    };
    // Of a mixed set it is the weakest that is in effect.
    let others: Vec<String> = grant
        .devices
        .iter()
        .filter(|device| device.cu_mask.is_some() && isolation.effective != Isolation::CuMask)
        .map(|device| format!(", and {} on GPU {}", Isolation::CuMask, device.place()))
        .collect();
    format!("{}{}{asked}; {enforced}", isolation.effective, others.concat())
}

/// Who makes a limit hold, in a sentence.
const fn held(enforcement: Enforcement) -> &'static str {
    match enforcement {
        Enforcement::None => "enforced by nobody",
        Enforcement::Simulated => "would be enforced on a real device",
        Enforcement::Advisory => "enforced by the workload's good will",
        Enforcement::Driver => "enforced by the driver",
        Enforcement::Kernel => "enforced by the kernel",
    }
}

fn refused(request: &Request, refusal: &Failure, output: &Output) -> Answer {
    let mut text = asked_for(request);
    let summary = format!("{}: {}", refusal.code, refusal.message);
    let title = "refused: ";
    text.push_str(&words::wrapped(title, &summary).replacen(
        "refused:",
        &output.paint(Paint::Red, "refused:"),
        1,
    ));
    if !refusal.verdicts().is_empty() {
        text.push('\n');
        text.push_str(&verdicts(refusal.verdicts(), output));
        text.push('\n');
    }
    if let Some(hint) = &refusal.hint {
        let word = output.paint(Paint::Cyan, "hint:");
        text.push_str(&words::wrapped("hint: ", hint).replacen("hint:", &word, 1));
    }
    let json = json!({
        "request": shown_request::json(request),
        "refusal": {
            "code": refusal.code,
            "summary": refusal.message,
            "verdicts": refusal.details,
            "hint": refusal.hint.as_deref().unwrap_or_default(),
        },
    });
    Answer { status: refusal.code.exit_status(), ..Answer::new(text, json) }
}

/// A row for each device that was asked for; the others are counted, by their reasons.
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
        let are = if count == 1 { "is" } else { "are" };
        text.push_str(&words::wrapped(
            "",
            &format!("{} {are} {reason}", words::count(count, "device")),
        ));
    }
    text
}

fn asked_for(request: &Request) -> String {
    words::wrapped("request: ", &shown_request::words(request).join(" "))
}
