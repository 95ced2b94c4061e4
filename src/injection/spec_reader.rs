//! The members of a spec that [`super::facts()`] reads, and the facts that follow from them.

use super::document::DocumentError;
use super::facts::{Facts, SpecDevice, SpecHook};
use super::lenient::{Members, Next};
use super::rules::{Rule, Rules};
use super::spec_elements::Namespace;
use super::spec_user::{User, UserNamespace};
use super::types::{GRANTED_PREFIX, SpecMount};
use super::vendor_hook::VendorHooks;
use crate::model::text::shown;
use serde::de::MapAccess;
use std::collections::BTreeMap;

/// Whether the key is a request to us: `gpulease/…` or `<container>.gpulease/…`.
fn is_request_key(key: &str) -> bool {
    key.split_once('/')
        .is_some_and(|(domain, _)| domain == "gpulease" || domain.ends_with(".gpulease"))
}

/// The root of a spec.
#[derive(Default)]
pub(super) struct RawSpec {
    annotations: Annotations,
    process: RawProcess,
    root: RawRoot,
    mounts: Vec<SpecMount>,
    hooks: Hooks,
    linux: Linux,
}

#[derive(Default)]
struct Annotations(BTreeMap<String, Option<String>>);

#[derive(Default)]
struct RawProcess {
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
struct RawRoot {
    path: Option<String>,
}

#[derive(Default)]
struct Hooks(BTreeMap<&'static str, Vec<SpecHook>>);

#[derive(Default)]
struct Linux {
    devices: Vec<SpecDevice>,
    resources: Resources,
    users: UserNamespace,
    own_pids: bool,
    own_mounts: bool,
    cgroups_path: Option<String>,
}

#[derive(Default)]
struct Resources {
    rules: Vec<Rule>,
}

impl RawSpec {
    /// The facts. Fails only if a request to us is not a string.
    pub(super) fn into_facts(self) -> Result<Facts, DocumentError> {
        let mut annotations = BTreeMap::new();
        let mut granted_keys = false;
        for (key, value) in self.annotations.0 {
            granted_keys |= key.starts_with(GRANTED_PREFIX);
            match value {
                Some(value) => {
                    annotations.insert(key, value);
                }
                // A container whose request cannot be read must not start without a GPU.
                None if is_request_key(&key) => {
                    let key = shown(&key);
                    return Err(DocumentError(format!("annotation `{key}` must be a string")));
                }
                None => {}
            }
        }
        let uid = self.linux.users.host_uid(self.process.user.uid);
        let rules = Rules::new(self.linux.resources.rules.into_iter());
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
            privileged: rules.open_everything(),
            system_admin: self.process.capabilities.system_admin,
            overrides: self.process.capabilities.overrides,
            host_files: self.process.capabilities.host_files,
            traces: self.process.capabilities.traces,
            own_pids: self.linux.own_pids,
            own_mounts: self.linux.own_mounts,
            rules,
            user_namespace: self.linux.users.is_apart,
            user: self.process.user,
            users: self.linux.users,
            cgroups_path: self.linux.cgroups_path.filter(|path| !path.is_empty()),
            uid,
            granted_keys,
            vendor_hooks: VendorHooks::of(&hooks),
            hooks,
            named: Vec::new(),
            doubt: None,
            others: Vec::new(),
        })
    }
}

/// containerd's own annotation, then the kubelet's, which CRI-O copies, then CRI-O's own. The last
/// has the long name `k8s_<container>_<pod>_…`; a Kubernetes name has no `_`.
fn container_name(annotations: &BTreeMap<String, String>) -> Option<String> {
    let long = |name: &String| name.strip_prefix("k8s_")?.split('_').next().map(str::to_owned);
    annotations
        .get("io.kubernetes.cri.container-name")
        .or_else(|| annotations.get("io.kubernetes.container.name"))
        .cloned()
        .or_else(|| annotations.get("io.kubernetes.cri-o.ContainerName").and_then(long))
}

impl<'de> Members<'de> for RawSpec {
    const PLACE: &'static str = "config.json";
    const KEYS: &'static [&'static str] =
        &["annotations", "process", "root", "mounts", "hooks", "linux"];

    fn member<A: MapAccess<'de>>(&mut self, key: &str, next: Next<'_, A>) -> Result<(), A::Error> {
        match key {
            "annotations" => next.object(&mut self.annotations),
            "process" => next.object(&mut self.process),
            "root" => next.object(&mut self.root),
            "mounts" => next.objects(&mut self.mounts),
            "hooks" => next.object(&mut self.hooks),
            "linux" => next.object(&mut self.linux),
            _ => next.skip(),
        }
    }
}

impl<'de> Members<'de> for Annotations {
    const PLACE: &'static str = "annotations";

    fn member<A: MapAccess<'de>>(&mut self, key: &str, next: Next<'_, A>) -> Result<(), A::Error> {
        let reader = next.reader;
        let value = next.text_if_any()?;
        if self.0.contains_key(key) {
            reader.twice(Self::PLACE, key);
            if reader.keeps() {
                return Ok(());
            }
        }
        self.0.insert(key.to_owned(), value);
        Ok(())
    }
}

impl<'de> Members<'de> for RawProcess {
    const PLACE: &'static str = "process";
    const KEYS: &'static [&'static str] = &["env", "capabilities", "user"];

    fn member<A: MapAccess<'de>>(&mut self, key: &str, next: Next<'_, A>) -> Result<(), A::Error> {
        match key {
            "env" => {
                if next.reader.replaces() {
                    self.env.clear();
                }
                self.env.extend(next.texts()?.map(|entry| {
                    let (name, value) = entry.split_once('=').unwrap_or((&entry, ""));
                    (name.to_owned(), value.to_owned())
                }));
                Ok(())
            }
            "capabilities" => next.object(&mut self.capabilities),
            "user" => next.object(&mut self.user),
            _ => next.skip(),
        }
    }
}

impl<'de> Members<'de> for RawRoot {
    const PLACE: &'static str = "root";
    const KEYS: &'static [&'static str] = &["path"];

    fn member<A: MapAccess<'de>>(&mut self, _: &str, next: Next<'_, A>) -> Result<(), A::Error> {
        self.path = next.text_if_any()?;
        Ok(())
    }
}

/// A capability counts in any set, because some process of the container can gain it.
impl<'de> Members<'de> for Capabilities {
    const PLACE: &'static str = "process.capabilities";

    fn member<A: MapAccess<'de>>(&mut self, _: &str, next: Next<'_, A>) -> Result<(), A::Error> {
        for name in next.texts()? {
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

/// Each key is a stage (config.md, "POSIX-platform Hooks").
impl<'de> Members<'de> for Hooks {
    const PLACE: &'static str = "hooks";
    const KEYS: &'static [&'static str] = &[
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ];

    fn member<A: MapAccess<'de>>(&mut self, key: &str, next: Next<'_, A>) -> Result<(), A::Error> {
        let Some(stage) = Self::KEYS.iter().find(|stage| **stage == key) else {
            return next.skip();
        };
        let hooks = self.0.entry(stage).or_default();
        next.objects(hooks)?;
        hooks.iter_mut().for_each(|hook| hook.stage = stage);
        Ok(())
    }
}

impl<'de> Members<'de> for Linux {
    const PLACE: &'static str = "linux";
    // The last two are edited or set aside elsewhere, and not read here.
    const KEYS: &'static [&'static str] = &[
        "devices",
        "resources",
        "namespaces",
        "uidMappings",
        "gidMappings",
        "cgroupsPath",
        "maskedPaths",
        "seccomp",
    ];

    fn member<A: MapAccess<'de>>(&mut self, key: &str, next: Next<'_, A>) -> Result<(), A::Error> {
        match key {
            "devices" => next.objects(&mut self.devices)?,
            "resources" => next.object(&mut self.resources)?,
            "namespaces" => {
                let mut namespaces: Vec<Namespace> = Vec::new();
                next.objects(&mut namespaces)?;
                (self.own_pids, self.own_mounts) = (false, false);
                for namespace in namespaces {
                    let is_new = namespace.path.is_empty();
                    match namespace.kind.as_str() {
                        "user" => {
                            self.users.is_apart = true;
                            if !is_new {
                                self.users.joined = Some(namespace.path);
                            }
                        }
                        // A namespace that the container joins may be the host's.
                        "pid" => self.own_pids = is_new,
                        "mount" => self.own_mounts = is_new,
                        _ => {}
                    }
                }
            }
            "uidMappings" => next.objects(&mut self.users.uids.0)?,
            "gidMappings" => next.objects(&mut self.users.gids.0)?,
            "cgroupsPath" => self.cgroups_path = next.text_if_any()?,
            _ => next.skip()?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Resources {
    const PLACE: &'static str = "linux.resources";
    const KEYS: &'static [&'static str] = &["devices"];

    fn member<A: MapAccess<'de>>(&mut self, _: &str, next: Next<'_, A>) -> Result<(), A::Error> {
        next.objects(&mut self.rules)
    }
}
