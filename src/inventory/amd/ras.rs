//! RAS: the error counters of an AMD GPU's blocks, `ras/<block>_err_count` in its directory.

use crate::inventory::sysfs;
use std::fs;
use std::path::Path;

/// Uncorrectable errors since the driver was loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// The blocks with errors, by name, and how many: (`umc`, 2) is the memory's.
    pub uncorrectable: Vec<(String, u64)>,
}

impl Counts {
    /// The errors in words; `None` if there are none.
    pub fn health_reason(&self) -> Option<String> {
        let each: Vec<String> =
            self.uncorrectable.iter().map(|(block, count)| format!("{block}: {count}")).collect();
        (!each.is_empty()).then(|| format!("uncorrectable errors (RAS): {}", each.join(", ")))
    }
}

/// Reads the counters; `None` if none can be read.
pub fn read(directory: &Path) -> Option<Counts> {
    let mut counts = Counts::default();
    let mut blocks = 0_u32;
    for entry in fs::read_dir(directory).ok()?.flatten() {
        let name = entry.file_name();
        let Some(block) = name.to_str().and_then(|name| name.strip_suffix("_err_count")) else {
            continue;
        };
        // An unreadable block is ignored.
        let Ok(Some(text)) = sysfs::text(&entry.path()) else { continue };
        let Some(count) = uncorrectable(&text) else { continue };
        blocks = blocks.saturating_add(1);
        if count > 0 {
            counts.uncorrectable.push((crate::model::text::shown(block), count));
        }
    }
    counts.uncorrectable.sort();
    (blocks > 0).then_some(counts)
}

/// Reads `ue: 2`. The correctable errors, `ce: …`, are on the next line (`amdgpu_ras_sysfs_read`).
fn uncorrectable(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.trim().strip_prefix("ue:")?.trim().parse().ok())
}
