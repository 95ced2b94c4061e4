//! A request, as it was understood.

use crate::model::device::Vendor;
use crate::model::driver::Capability;
use crate::model::isolation::Isolation;
use crate::model::lease::Sharing;
use crate::model::mig::MigProfile;
use crate::model::quantity::{Bytes, MilliGpu};
use crate::model::text::shown;
use crate::request::{
    Amount, Count, Enforce, MigChoice, Request, RequestSource, Selector, Strategy, Topology,
};
use serde::Serialize;

#[derive(Debug, Serialize)]
pub struct RequestView<'a> {
    count: CountView,
    devices: Vec<String>,
    vendor: Option<Vendor>,
    model: Option<&'a str>,
    whole: bool,
    milli: Option<MilliGpu>,
    memory_bytes: Option<Bytes>,
    min_memory_bytes: Option<Bytes>,
    sharing: Sharing,
    isolation: Isolation,
    enforcement: Enforce,
    mig_profile: Option<&'a str>,
    strategy: Strategy,
    topology: Topology,
    priority: u32,
    workload: Option<&'a str>,
    /// `none` alone stands for no capability; null leaves the choice to the image.
    capabilities: Option<Vec<&'static str>>,
    source: RequestSource,
}

/// A number, or `all`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum CountView {
    Number(u32),
    Word(&'static str),
}

impl<'a> RequestView<'a> {
    pub fn of(request: &'a Request) -> Self {
        let (milli, memory_bytes) = match request.amount {
            Amount::Whole => (None, None),
            Amount::Share { compute, memory } => (compute, memory),
        };
        Self {
            count: match request.count {
                Count::Exactly(count) => CountView::Number(count),
                Count::All => CountView::Word(ALL),
            },
            devices: request.devices.iter().map(selector).collect(),
            vendor: request.vendor,
            model: request.model.as_deref(),
            whole: request.amount == Amount::Whole,
            milli,
            memory_bytes,
            min_memory_bytes: request.min_memory,
            sharing: request.sharing,
            isolation: request.isolation,
            enforcement: request.enforcement,
            mig_profile: profile(request),
            strategy: request.strategy,
            topology: request.topology,
            priority: request.priority,
            workload: request.workload.as_deref(),
            capabilities: request.capabilities.as_deref().map(capabilities),
            source: request.source,
        }
    }
}

fn capabilities(list: &[Capability]) -> Vec<&'static str> {
    match list {
        [] => vec!["none"],
        list => list.iter().copied().map(Capability::as_str).collect(),
    }
}

const ALL: &str = "all";

/// `count=2 vendor=amd compute=500m …`: the request by its annotations, with their defaults. An
/// annotation that has no effect on this request is left out.
pub fn request_text(request: &Request) -> String {
    let mut words = vec![match request.count {
        Count::Exactly(count) => format!("count={count}"),
        Count::All => format!("count={ALL}"),
    }];
    let mut add = |key: &str, value: Option<String>| {
        words.extend(value.map(|value| format!("{key}={value}")));
    };
    let devices: Vec<String> = request.devices.iter().map(selector).collect();
    add("devices", Some(devices.join(",")).filter(|list| !list.is_empty()));
    add("vendor", request.vendor.map(|vendor| vendor.to_string()));
    add("model", request.model.as_deref().map(shown));
    add("mig-profile", profile(request).map(str::to_owned));
    let shared = match request.amount {
        Amount::Whole => false,
        Amount::Share { compute, memory } => {
            add("compute", compute.map(|milli| milli.to_string()));
            add("memory", memory.map(Bytes::short));
            true
        }
    };
    add("min-memory", request.min_memory.map(Bytes::short));
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
    words.join(" ")
}

fn profile(request: &Request) -> Option<&str> {
    match &request.mig {
        MigChoice::Instances(profile) => profile.as_ref().map(MigProfile::as_str),
        MigChoice::Gpus | MigChoice::Either => None,
    }
}

fn selector(selector: &Selector) -> String {
    match selector {
        Selector::Index(index) => index.to_string(),
        Selector::Instance(gpu, instance) => format!("{gpu}:{instance}"),
        Selector::Uuid(text) => shown(text),
        Selector::Pci(address) => address.to_string(),
        Selector::Card(number) => format!("card{number}"),
        Selector::Render(number) => format!("renderD{number}"),
    }
}
