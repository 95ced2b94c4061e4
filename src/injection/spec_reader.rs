//! The members of a spec that [`super::facts()`] reads, and what it makes of them.

use super::document::DocumentError;
use super::facts::{Facts, SpecDevice, SpecHook};
use super::lenient::{Leaf, List, Members, Object, skip};
use super::rules::Rules;
use super::spec_user::{IdMap, User, Users};
use super::types::{GRANTED_PREFIX, SpecMount};
use super::vendor_hook::VendorHooks;
use serde::de::MapAccess;
use std::collections::BTreeMap;

/// Whether the key is a request to us: `gpulease/…` or `<container>.gpulease/…`.
fn is_request_key(key: &str) -> bool {
    key.split_once('/')
        .is_some_and(|(domain, _)| domain == "gpulease" || domain.ends_with(".gpulease"))
}

/// The root of a spec.
#[derive(Default)]
pub(super) struct Spec {
    annotations: Annotations,
    process: Process,
    root: Root,
    mounts: Vec<SpecMount>,
    hooks: Hooks,
    linux: Linux,
}

#[derive(Default)]
struct Annotations(BTreeMap<String, Option<String>>);

#[derive(Default)]
struct Process {
    env: Vec<(String, String)>,
    capabilities: Capabilities,
    user: User,
}

#[derive(Default)]
struct Capabilities {
    system_admin: bool,
    overrides: bool,
    host_files: bool,
    traces: bool,
}

#[derive(Default)]
struct Root {
    path: Option<String>,
}

#[derive(Default)]
struct Hooks(BTreeMap<&'static str, Vec<SpecHook>>);

#[derive(Default)]
struct Linux {
    devices: Vec<SpecDevice>,
    resources: Resources,
    users: Users,
    own_pids: bool,
    cgroups_path: Option<String>,
}

#[derive(Default)]
struct Resources {
    rules: Rules,
}

#[derive(Default)]
struct Namespace {
    kind: String,
    path: String,
}

impl Spec {
    /// The facts; fails only on a request of ours that is not a string.
    pub(super) fn into_facts(self) -> Result<Facts, DocumentError> {
        let mut annotations = BTreeMap::new();
        let mut granted_keys = false;
        for (key, value) in self.annotations.0 {
            granted_keys |= key.starts_with(GRANTED_PREFIX);
            match value {
                Some(value) => {
                    annotations.insert(key, value);
                }
                // A request that we cannot read must not become a container without a GPU.
                None if is_request_key(&key) => {
                    return Err(DocumentError::annotation(&key));
                }
                None => {}
            }
        }
        let uid = self.linux.users.host_uid(self.process.user.uid);
        let hooks: Vec<SpecHook> = self.hooks.0.into_values().flatten().collect();
        let is = |key: &str, value: &str| annotations.get(key).is_some_and(|v| v == value);
        Ok(Facts {
            is_sandbox: is("io.kubernetes.cri.container-type", "sandbox")
                || is("io.kubernetes.cri-o.ContainerType", "sandbox"),
            container_name: container_name(&annotations),
            annotations,
            env: self.process.env,
            root: self.root.path,
            mounts: self.mounts,
            device_paths: self.linux.devices,
            privileged: self.linux.resources.rules.open_everything(),
            system_admin: self.process.capabilities.system_admin,
            overrides: self.process.capabilities.overrides,
            host_files: self.process.capabilities.host_files,
            traces: self.process.capabilities.traces,
            own_pids: self.linux.own_pids,
            rules: self.linux.resources.rules,
            user_namespace: self.linux.users.is_apart,
            user: self.process.user,
            users: self.linux.users,
            cgroups_path: self.linux.cgroups_path.filter(|path| !path.is_empty()),
            uid,
            granted_keys,
            vendor_hooks: VendorHooks::of(&hooks),
            hooks,
            named: Vec::new(),
        })
    }
}

/// containerd's own annotation, the kubelet's (which CRI-O copies), then CRI-O's, which holds the
/// long name `k8s_<container>_<pod>_…`; a Kubernetes name has no `_`.
fn container_name(annotations: &BTreeMap<String, String>) -> Option<String> {
    let long = |name: &String| name.strip_prefix("k8s_")?.split('_').next().map(str::to_owned);
    annotations
        .get("io.kubernetes.cri.container-name")
        .or_else(|| annotations.get("io.kubernetes.container.name"))
        .cloned()
        .or_else(|| annotations.get("io.kubernetes.cri-o.ContainerName").and_then(long))
}

impl<'de> Members<'de> for Spec {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "annotations" => self.annotations = map.next_value::<Object<_>>()?.0,
            "process" => self.process = map.next_value::<Object<_>>()?.0,
            "root" => self.root = map.next_value::<Object<_>>()?.0,
            "mounts" => self.mounts = objects(map)?.collect(),
            "hooks" => self.hooks = map.next_value::<Object<_>>()?.0,
            "linux" => self.linux = map.next_value::<Object<_>>()?.0,
            _ => skip(map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Annotations {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let value = map.next_value::<Leaf<'_>>()?.text().map(String::from);
        self.0.insert(key.to_owned(), value);
        Ok(())
    }
}

impl<'de> Members<'de> for Process {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "env" => {}
            "capabilities" => {
                self.capabilities = map.next_value::<Object<_>>()?.0;
                return Ok(());
            }
            "user" => {
                self.user = map.next_value::<Object<_>>()?.0;
                return Ok(());
            }
            _ => return skip(map),
        }
        let entries = map.next_value::<List<Leaf<'_>>>()?.0.into_iter().filter_map(Leaf::text);
        self.env = entries
            .map(|entry| {
                let (name, value) = entry.split_once('=').unwrap_or((&entry, ""));
                (name.to_owned(), value.to_owned())
            })
            .collect();
        Ok(())
    }
}

impl<'de> Members<'de> for Root {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "path" => self.path = map.next_value::<Leaf<'_>>()?.text().map(String::from),
            _ => skip(map)?,
        }
        Ok(())
    }
}

/// Whatever set it is in, some process of the container can come to it.
impl<'de> Members<'de> for Capabilities {
    fn member<A: MapAccess<'de>>(&mut self, _set: &str, map: &mut A) -> Result<(), A::Error> {
        for name in map.next_value::<List<Leaf<'_>>>()?.0.into_iter().filter_map(Leaf::text) {
            match &*name {
                "CAP_SYS_ADMIN" => self.system_admin = true,
                "CAP_DAC_OVERRIDE" => self.overrides = true,
                "CAP_DAC_READ_SEARCH" | "CAP_SYS_MODULE" | "CAP_SYS_RAWIO" => {
                    self.host_files = true;
                }
                "CAP_SYS_PTRACE" => self.traces = true,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Every stage that there is (config.md, "POSIX-platform Hooks").
const STAGES: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

impl<'de> Members<'de> for Hooks {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let Some(stage) = STAGES.into_iter().find(|stage| *stage == key) else { return skip(map) };
        let hooks = map.next_value::<List<Object<SpecHook>>>()?.0.into_iter();
        self.0.insert(stage, hooks.map(|Object(hook)| SpecHook { stage, ..hook }).collect());
        Ok(())
    }
}

impl<'de> Members<'de> for SpecHook {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "path" => self.path = text(map)?,
            "args" => {
                let args = map.next_value::<List<Leaf<'_>>>()?.0.into_iter();
                self.args = args.filter_map(Leaf::text).map(String::from).collect();
            }
            _ => skip(map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Linux {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "devices" => self.devices = objects(map)?.collect(),
            "resources" => self.resources = map.next_value::<Object<_>>()?.0,
            "namespaces" => {
                self.own_pids = false;
                for namespace in objects::<Namespace, A>(map)? {
                    let is_new = namespace.path.is_empty();
                    match namespace.kind.as_str() {
                        "user" => {
                            self.users.is_apart = true;
                            if !is_new {
                                self.users.joined = Some(namespace.path);
                            }
                        }
                        // One that is there already may be the host's.
                        "pid" => self.own_pids = is_new,
                        _ => {}
                    }
                }
            }
            "uidMappings" => self.users.uids = IdMap(objects(map)?.collect()),
            "gidMappings" => self.users.gids = IdMap(objects(map)?.collect()),
            "cgroupsPath" => {
                self.cgroups_path = map.next_value::<Leaf<'_>>()?.text().map(String::from);
            }
            _ => skip(map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Resources {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "devices" => self.rules = Rules::new(objects(map)?),
            _ => skip(map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for SpecDevice {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "path" => self.path = text(map)?,
            "type" => self.kind = text(map)?,
            "major" => self.major = map.next_value::<Leaf<'_>>()?.integer(),
            "minor" => self.minor = map.next_value::<Leaf<'_>>()?.integer(),
            _ => skip(map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Namespace {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "type" => self.kind = text(map)?,
            "path" => self.path = text(map)?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

pub(super) fn text<'de, A: MapAccess<'de>>(map: &mut A) -> Result<String, A::Error> {
    Ok(map.next_value::<Leaf<'_>>()?.text().map(String::from).unwrap_or_default())
}

fn objects<'de, T: Members<'de>, A: MapAccess<'de>>(
    map: &mut A,
) -> Result<impl Iterator<Item = T>, A::Error> {
    Ok(map.next_value::<List<Object<T>>>()?.0.into_iter().map(|Object(object)| object))
}
