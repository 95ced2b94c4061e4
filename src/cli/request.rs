//! A request as `explain` shows it.

use crate::model::driver::Capability;
use crate::model::isolation::Isolation;
use crate::model::mig::MigProfile;
use crate::request::{Amount, Count, Enforce, MigChoice, Request, Selector};
use serde_json::{Value, json};

/// `count=2 vendor=amd compute=500m …`: in the words of the annotations, what was left open filled
/// in, what does not matter left out.
pub(super) fn words(request: &Request) -> Vec<String> {
    let mut words = vec![format!("count={}", count(request.count))];
    let mut add = |key: &str, value: Option<String>| {
        words.extend(value.map(|value| format!("{key}={value}")));
    };
    let devices: Vec<String> = request.devices.iter().map(selector).collect();
    add("devices", Some(devices.join(",")).filter(|list| !list.is_empty()));
    add("vendor", request.vendor.map(|vendor| vendor.to_string()));
    add("model", request.model.as_deref().map(crate::model::text::shown));
    add("mig-profile", profile(request).map(str::to_owned));
    let shared = match request.amount {
        Amount::Whole => false,
        Amount::Share { compute, memory } => {
            add("compute", compute.map(|milli| milli.to_string()));
            add("memory", memory.map(super::words::memory));
            true
        }
    };
    add("min-memory", request.min_memory.map(super::words::memory));
    add("sharing", Some(request.sharing.to_string()));
    let instances = matches!(request.mig, MigChoice::Instances(_));
    let named = request.isolation != Isolation::Auto;
    add("isolation", (shared || instances || named).then(|| request.isolation.to_string()));
    let required = request.enforcement == Enforce::Required;
    add("enforcement", required.then(|| "required".to_owned()));
    add("strategy", Some(request.strategy.as_str().to_owned()));
    let several = request.count != Count::Exactly(1);
    add("topology", several.then(|| request.topology.to_string()));
    add("workload", request.workload.clone());
    words
}

pub(super) fn json(request: &Request) -> Value {
    let (compute, memory) = match request.amount {
        Amount::Whole => (None, None),
        Amount::Share { compute, memory } => (compute, memory),
    };
    let capabilities = request.capabilities.as_ref();
    json!({
        "count": match request.count {
            Count::Exactly(count) => json!(count),
            Count::All => json!("all"),
        },
        "devices": request.devices.iter().map(selector).collect::<Vec<_>>(),
        "vendor": request.vendor,
        "model": request.model,
        "whole": request.amount == Amount::Whole,
        "milli": compute,
        "memory_bytes": memory,
        "min_memory_bytes": request.min_memory,
        "sharing": request.sharing,
        "isolation": request.isolation,
        "enforcement": request.enforcement,
        "mig_profile": profile(request),
        "strategy": request.strategy,
        "topology": request.topology,
        "priority": request.priority,
        "workload": request.workload,
        "capabilities": capabilities.map(|list| {
            let words: Vec<_> = list.iter().copied().map(Capability::as_str).collect();
            if words.is_empty() { vec!["none"] } else { words }
        }),
        "source": request.source,
    })
}

fn profile(request: &Request) -> Option<&str> {
    match &request.mig {
        MigChoice::Instances(profile) => profile.as_ref().map(MigProfile::as_str),
        MigChoice::Gpus | MigChoice::Either => None,
    }
}

fn count(count: Count) -> String {
    match count {
        Count::Exactly(count) => count.to_string(),
        Count::All => "all".to_owned(),
    }
}

fn selector(selector: &Selector) -> String {
    match selector {
        Selector::Index(index) => index.to_string(),
        Selector::Instance(gpu, instance) => format!("{gpu}:{instance}"),
        Selector::Uuid(text) => crate::model::text::shown(text),
        Selector::Pci(address) => address.to_string(),
        Selector::Card(number) => format!("card{number}"),
        Selector::Render(number) => format!("renderD{number}"),
    }
}
