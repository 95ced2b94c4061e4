//! Fits a grant's edits to the container's namespaces.
//!
//! In a user namespace, the ids in a spec are the container's, but a node is the host's: the
//! runtime mounts it as it is, and its owners on the host decide about access. (crun 1.8 makes a
//! new node, with the owners of the spec.) A container without its own mount namespace is in the
//! host's. There runc refuses to mask a path, and both runtimes leave every mount behind on the
//! host.

use crate::failure::Failure;
use crate::injection::{Facts, HookEntry, HookStage, IdMap, Injection, ResolvedNode};
use crate::model::code::Code;
use crate::model::text::shown;
use crate::paths::Paths;
use crate::sys::file_rights::rights;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Fits an injection to the container's namespaces: ids become the container's, and parts that the
/// namespaces do not allow are left out. Fails if the grant would not work then: the container's
/// user could not open a node, or a mount would be on the host.
pub(super) fn fit(injection: &mut Injection, facts: &Facts, paths: &Paths) -> Result<(), Failure> {
    if !facts.own_mounts {
        // Masked paths only hide information about other GPUs.
        injection.masked.clear();
        permit_mounts(injection)?;
    }
    if !facts.user_namespace {
        return Ok(());
    }
    let ids = Ids::of(facts, paths);
    injection.gids = ids.own_groups(&injection.gids);
    for node in &mut injection.nodes {
        ids.permit(node, &injection.gids, facts, paths)?;
        node.uid = node.uid.and_then(|uid| ids.uids.container(uid));
        node.gid = node.gid.and_then(|gid| ids.gids.container(gid));
    }
    Ok(())
}

/// In the host's mount namespace, no mount and no hook inside the container is allowed.
fn permit_mounts(injection: &Injection) -> Result<(), Failure> {
    let is_inside = |hook: &&HookEntry| {
        matches!(hook.stage, HookStage::CreateContainer | HookStage::StartContainer)
    };
    let mount = injection.mounts.first().map(|mount| format!("`{}` is mounted", mount.destination));
    let hook = injection.hooks.iter().find(is_inside);
    let hook = hook.map(|hook| format!("the hook `{}` runs in it", shown(&hook.path)));
    let Some(what) = mount.or(hook) else { return Ok(()) };
    let text = format!(
        "the container has no mount namespace of its own, but for its GPUs {what}: this would \
         happen on the host, and remain there"
    );
    Err(Failure::new(Code::BadRequest, text).hint(
        "run the container with a mount namespace of its own; or bring the driver's files in the \
         image, with `driver = \"none\"`",
    ))
}

/// How the container's namespace maps ids. The maps are empty if that is unknown.
struct Ids {
    uids: IdMap,
    gids: IdMap,
    is_known: bool,
}

impl Ids {
    fn of(facts: &Facts, paths: &Paths) -> Self {
        let users = &facts.users;
        let Some(joined) = &users.joined else {
            return Self { uids: users.uids.clone(), gids: users.gids.clone(), is_known: true };
        };
        // Engines join a namespace by its file in procfs. The maps are beside it.
        let dir = joined.strip_prefix("/proc/").and_then(|path| path.strip_suffix("/ns/user"));
        let pid = dir.filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()));
        let map = |name: &str| {
            let text = fs::read_to_string(paths.proc.join(pid?).join(name)).ok()?;
            Some(IdMap::parse(&text))
        };
        match (map("uid_map"), map("gid_map")) {
            (Some(uids), Some(gids)) => Self { uids, gids, is_known: true },
            _ => Self { uids: IdMap::default(), gids: IdMap::default(), is_known: false },
        }
    }

    /// The host's groups that the container can be in, with the container's ids. Root's group is
    /// never given, neither the host's nor the container's.
    fn own_groups(&self, gids: &[u32]) -> Vec<u32> {
        let gids = gids.iter().filter(|gid| **gid != 0);
        gids.filter_map(|gid| self.gids.container(*gid)).filter(|gid| *gid != 0).collect()
    }

    /// `gids` are the container's groups for its nodes, with the container's ids.
    fn permit(
        &self,
        node: &ResolvedNode,
        gids: &[u32],
        facts: &Facts,
        paths: &Paths,
    ) -> Result<(), Failure> {
        let name = node.path.strip_prefix("/dev/").unwrap_or(&node.path);
        let host = paths.dev.join(name.trim_start_matches('/'));
        // Without the file the runtime cannot mount it, and reports that.
        let Ok(found) = fs::metadata(&host) else { return Ok(()) };
        let user = &facts.user;
        let uid = user.uid.and_then(|uid| self.uids.host(uid));
        let own = user.gid.iter().chain(&user.groups).copied();
        let groups = own.chain(gids.iter().map(|gid| i64::from(*gid)));
        let groups: Vec<u32> = groups.filter_map(|gid| self.gids.host(gid)).collect();
        // The capability counts only if the namespace maps both owners (user_namespaces(7)).
        let has_owners = self.uids.container(found.uid()).is_some()
            && self.gids.container(found.gid()).is_some();
        if facts.overrides && has_owners {
            return Ok(());
        }
        let bits = rights(&host, &found, uid, &groups);
        let access = node.access.as_str();
        let wanted =
            [('r', 0o4), ('w', 0o2)].into_iter().filter(|(word, _)| access.contains(*word));
        if wanted.map(|(_, bit)| bit).all(|bit| bits & bit != 0) {
            return Ok(());
        }
        Err(self.refusal(node, &found))
    }

    fn refusal(&self, node: &ResolvedNode, found: &fs::Metadata) -> Failure {
        let (mode, uid, gid) = (found.mode() & 0o777, found.uid(), found.gid());
        let why = if !self.is_known {
            "it joins a user namespace whose mapping of ids is unknown".to_owned()
        } else if self.gids.container(gid).is_none() {
            format!("its user namespace does not map the host's group {gid}")
        } else {
            "its process is neither that user nor in that group".to_owned()
        };
        let text = format!(
            "the container could not open `{}`, which is {mode:04o} {uid}:{gid} on the host: {why}",
            node.path
        );
        Failure::new(Code::BadRequest, text).hint(
            "map the group into the namespace (`--gidmap`), run the container without a user \
             namespace, or let udev open the node to all users",
        )
    }
}

#[cfg(test)]
mod tests;
