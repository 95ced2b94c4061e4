//! Checks the lease directory: leases without a live holder, damaged records, leftover files.

use super::finding::{Findings, plain, quoted};
use super::limits;
use crate::claim::liveness::{Holder, Judge, LeaseStanding};
use crate::claim::sweep::describe;
use crate::cli::words;
use crate::host::Host;
use crate::model::id::short_id;
use crate::model::text::shown;
use crate::store::Entry;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A temporary file exists only during one write.
const LEFT_BEHIND: Duration = Duration::from_secs(60);

pub(super) fn check(host: &Host, found: &mut Findings) {
    if !host.paths.run.is_dir() {
        return;
    }
    let before = found.list.len();
    leftovers(host, found);
    let leases = host.paths.run.join("leases");
    match strange_files(&leases) {
        Ok(strange) if strange.is_empty() => {}
        Ok(strange) => {
            // To read a pipe would wait for a writer, here and in every start.
            let first = strange.first().map(|path| plain(path)).unwrap_or_default();
            found.fault(
                "records-strange",
                format!("`{first}` in the lease directory is not a regular file"),
                format!("`rm -r --one-file-system {first}`"),
            );
            return;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return found.unchecked(&leases, &error),
    }
    let entries = match host.store().entries() {
        Ok(entries) => entries,
        Err(error) => return found.unchecked(&leases, &error.message),
    };
    let count = entries.len();
    judge(entries, host, found);
    if found.is_clean_since(before) {
        found.ok("records", format!("{} can be read", words::count(count, "lease record")));
    }
}

fn judge(entries: Vec<Entry>, host: &Host, found: &mut Findings) {
    let judge = Judge::look(&host.paths);
    let witnesses = host.store().witnesses(&entries);
    let (mut dead, mut over, mut unjudged) = (0, 0, Vec::new());
    for entry in entries {
        match entry {
            Entry::Lease(lease) => {
                let holder = judge.holder(&lease);
                match (LeaseStanding::of(&lease, &holder), holder.unjudged()) {
                    (LeaseStanding::Dead, _) => dead += 1,
                    (LeaseStanding::Over, _) => over += 1,
                    (_, Some(why)) => unjudged.push(format!("{} {why}", describe(&lease))),
                    _ => limits::check(&lease, host, found),
                }
            }
            Entry::Corrupt(record) => {
                let judged = judge.holder_of_corrupt(&record, &witnesses);
                // Only the host itself can ask the low-level runtime about the container.
                let is_here = host.paths.are_own();
                let consequence = if judged == Holder::Dead && is_here {
                    "the next start moves it aside"
                } else {
                    "its devices count as taken while the container may live"
                };
                let id = shown(short_id(record.key.container_id.as_str()));
                let (why, file) = (shown(&record.why), quoted(&record.path));
                found.warning(
                    "record-corrupt",
                    format!(
                        "the lease record of container {id} cannot be read ({why}): {consequence}"
                    ),
                    format!(
                        "end the container; the next start after some minutes then moves {file} \
                         aside"
                    ),
                );
            }
        }
    }
    let free = [(dead, LeaseStanding::Dead), (over, LeaseStanding::Over)].into_iter();
    let free: Vec<String> = free
        .filter(|(count, _)| *count > 0)
        .map(|(count, standing)| format!("{count} {}", standing.as_str()))
        .collect();
    if !free.is_empty() {
        let (count, free) = (words::count(dead + over, "lease"), free.join(", "));
        let what = if dead + over == 1 { "it holds" } else { "they hold" };
        found.note(
            "leases-dead",
            format!(
                "{count} without a live holder ({free}); the next start takes the devices that \
                 {what}"
            ),
            "nothing has to be done; `gpulease leases --all` shows them, `gpulease release` ends \
             one",
        );
    }
    if let Some(first) = unjudged.first() {
        let count = words::count(unjudged.len(), "lease");
        found.warning(
            "leases-unjudged",
            format!("{count} kept, because the holder cannot be judged from here: {first}"),
            "run `gpulease doctor` where the lease was recorded; if that place is gone for good, \
             `gpulease release ID --assume-dead` takes the lease back",
        );
    }
}

fn strange_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut strange = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let is_record = entry.path().extension().is_some_and(|extension| extension == "json");
        if is_record && !entry.file_type()?.is_file() {
            strange.push(entry.path());
        }
    }
    strange.sort();
    Ok(strange)
}

/// Reports files of killed writers, and records that a sweep moved aside.
fn leftovers(host: &Host, found: &mut Findings) {
    let run_dir = &host.paths.run;
    let mut temporary = Vec::new();
    for dir in [run_dir.clone(), run_dir.join("leases"), run_dir.join("bundles")] {
        let Ok(listing) = fs::read_dir(&dir) else { continue };
        temporary.extend(listing.flatten().map(|entry| entry.path()).filter(|path| is_left(path)));
    }
    temporary.sort();
    if let Some(first) = temporary.first() {
        let count = words::count(temporary.len(), "temporary file");
        found.note(
            "leftovers",
            format!("{count} of killed writers, such as {}", quoted(first)),
            format!("`find {} -name '.*.tmp' -mmin +1 -delete`", plain(run_dir)),
        );
    }
    let corrupt = run_dir.join("corrupt");
    let aside = fs::read_dir(&corrupt).map_or(0, |listing| listing.flatten().count());
    if aside > 0 {
        let (count, dir) = (words::count(aside, "unreadable record"), quoted(&corrupt));
        found.note(
            "records-set-aside",
            format!("{count} of dead containers in {dir}"),
            format!("find out how they were damaged, then remove them from {dir}"),
        );
    }
}

fn is_left(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let age = fs::symlink_metadata(path).and_then(|metadata| metadata.modified()).ok();
    let age = age.and_then(|modified| SystemTime::now().duration_since(modified).ok());
    name.starts_with('.') && name.ends_with(".tmp") && age.is_some_and(|age| age > LEFT_BEHIND)
}
