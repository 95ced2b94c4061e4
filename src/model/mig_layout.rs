//! Which sets of MIG instances a GPU can be divided into, and where each instance lies on it.
//!
//! The figures are from NVIDIA's MIG user guide, "Supported MIG Profiles" (the names, and how many
//! of each there can be) and "List GPU Instance Profiles" (where they can begin, as
//! `nvidia-smi mig -lgipp` prints it: `{0,4}:4` is a size of four memory slices that begins at slot
//! 0 or 4). A100, H100, H200, B200 and GB200 are divided in the same way; only the names differ.

use super::mig::MigProfile;
use std::fmt;

/// An instance size on one kind of GPU.
#[derive(Debug, PartialEq, Eq)]
pub struct InstanceSize {
    /// How many memory slices an instance takes.
    pub slots: u32,
    /// The slots at which an instance can begin.
    pub starts: &'static [u32],
    /// The most instances of this size on one GPU.
    pub max: usize,
}

/// A kind of GPU, as far as MIG is concerned.
#[derive(Debug)]
pub struct Geometry {
    /// The name in messages.
    pub name: &'static str,
    /// The word in a model's name that identifies the kind.
    family: &'static str,
    /// The memory in GiB, rounded, as the driver reports it.
    gib: u64,
    pub slots: u32,
    pub slices: u32,
    /// Whether the driver resets the GPU to turn MIG mode on (MIG user guide, "Enable MIG Mode": up
    /// to the Ampere generation).
    pub needs_reset: bool,
    sizes: &'static [InstanceSize],
    /// The names of the sizes.
    names: &'static [&'static str],
}

/// `-lgipp` for all GPUs with seven compute and eight memory slices.
const OF_SEVEN: &[InstanceSize] = &[
    InstanceSize { slots: 1, starts: &[0, 1, 2, 3, 4, 5, 6], max: 7 },
    InstanceSize { slots: 1, starts: &[0, 1, 2, 3, 4, 5, 6], max: 1 },
    InstanceSize { slots: 2, starts: &[0, 2, 4, 6], max: 4 },
    InstanceSize { slots: 2, starts: &[0, 2, 4], max: 3 },
    InstanceSize { slots: 4, starts: &[0, 4], max: 2 },
    InstanceSize { slots: 4, starts: &[0], max: 1 },
    InstanceSize { slots: 8, starts: &[0], max: 1 },
];

/// `-lgipp` for A30.
const OF_FOUR: &[InstanceSize] = &[
    InstanceSize { slots: 1, starts: &[0, 1, 2, 3], max: 4 },
    InstanceSize { slots: 1, starts: &[0, 1, 2, 3], max: 1 },
    InstanceSize { slots: 2, starts: &[0, 2], max: 2 },
    InstanceSize { slots: 2, starts: &[0, 2], max: 1 },
    InstanceSize { slots: 4, starts: &[0], max: 1 },
];

const fn of_seven(
    name: &'static str,
    family: &'static str,
    gib: u64,
    needs_reset: bool,
    names: &'static [&'static str; 7],
) -> Geometry {
    Geometry { name, family, gib, slots: 8, slices: 7, needs_reset, sizes: OF_SEVEN, names }
}

/// The known kinds of GPU. Drivers before R470 have no `+me`. Drivers before R525 have neither
/// `2g.12gb+me` nor the `1g` sizes with two memory slices.
pub const GEOMETRIES: &[Geometry] = &[
    Geometry {
        name: "A30 24GB",
        family: "A30",
        gib: 24,
        slots: 4,
        slices: 4,
        needs_reset: true,
        sizes: OF_FOUR,
        names: &["1g.6gb", "1g.6gb+me", "2g.12gb", "2g.12gb+me", "4g.24gb"],
    },
    of_seven("A100 40GB", "A100", 40, true, A100_40),
    of_seven("A100 80GB", "A100", 80, true, OF_80),
    of_seven("H100 80GB", "H100", 80, false, OF_80),
    of_seven("H100 94GB", "H100", 94, false, H100_94),
    of_seven("H100 96GB", "H100", 96, false, OF_96),
    of_seven("GH200 96GB", "GH200", 96, false, OF_96),
    of_seven("H200 141GB", "H200", 141, false, H200),
    of_seven("B200 180GB", "B200", 180, false, B200),
    of_seven("GB200 186GB", "GB200", 186, false, GB200),
];

const A100_40: &[&str; 7] =
    &["1g.5gb", "1g.5gb+me", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb"];
const OF_80: &[&str; 7] =
    &["1g.10gb", "1g.10gb+me", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"];
const H100_94: &[&str; 7] =
    &["1g.12gb", "1g.12gb+me", "1g.24gb", "2g.24gb", "3g.47gb", "4g.47gb", "7g.94gb"];
const OF_96: &[&str; 7] =
    &["1g.12gb", "1g.12gb+me", "1g.24gb", "2g.24gb", "3g.48gb", "4g.48gb", "7g.96gb"];
const H200: &[&str; 7] =
    &["1g.18gb", "1g.18gb+me", "1g.35gb", "2g.35gb", "3g.71gb", "4g.71gb", "7g.141gb"];
const B200: &[&str; 7] =
    &["1g.23gb", "1g.23gb+me", "1g.45gb", "2g.45gb", "3g.90gb", "4g.90gb", "7g.180gb"];
const GB200: &[&str; 7] =
    &["1g.23gb", "1g.23gb+me", "1g.47gb", "2g.47gb", "3g.93gb", "4g.93gb", "7g.186gb"];

/// By how many GiB a GPU's memory may differ from the figure of its kind.
const TOLERANCE: u64 = 2;

impl Geometry {
    /// The geometry of a GPU with this name, `NVIDIA A100-SXM4-40GB`, and this much memory. If the
    /// memory is unknown, as in a plan for a GPU that is not there, the name has to contain it,
    /// unless there is only one kind of the family.
    pub fn of(model: &str, gib: Option<u64>) -> Option<&'static Self> {
        let model = model.to_ascii_uppercase();
        let words: Vec<&str> = model.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        let family = || GEOMETRIES.iter().filter(|geometry| words.contains(&geometry.family));
        // `GH200 480GB` names the memory of its CPU.
        let named = words.iter().find_map(|word| word.strip_suffix("GB")?.parse::<u64>().ok());
        let known = match gib {
            Some(gib) => Some(gib),
            None => named.filter(|gib| family().any(|geometry| geometry.gib == *gib)),
        };
        match known {
            Some(gib) => family()
                .filter(|geometry| geometry.gib.abs_diff(gib) <= TOLERANCE)
                .min_by_key(|geometry| geometry.gib.abs_diff(gib)),
            None if named.is_some() => None,
            None => family().next().filter(|_| family().count() == 1),
        }
    }

    /// The kinds that a name without a memory size could mean.
    pub fn family_of(model: &str) -> Vec<&'static Self> {
        let model = model.to_ascii_uppercase();
        let words: Vec<&str> = model.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        if words.iter().any(|word| word.strip_suffix("GB").is_some_and(|gib| !gib.is_empty())) {
            return Vec::new();
        }
        GEOMETRIES.iter().filter(|geometry| words.contains(&geometry.family)).collect()
    }

    /// The sizes with their names, the smallest first.
    pub fn sizes(&self) -> impl Iterator<Item = (&'static str, &'static InstanceSize)> {
        self.names.iter().copied().zip(self.sizes)
    }

    fn size(&self, profile: &MigProfile) -> Option<&'static InstanceSize> {
        self.sizes().find(|(name, _)| *name == profile.as_str()).map(|(_, size)| size)
    }

    /// Places all instances together, and returns them in the order of their slots. An instance
    /// with a slot begins there. The error says why they do not fit.
    pub fn place(
        &self,
        profiles: &[(MigProfile, Option<u32>)],
    ) -> Result<Vec<PlacedInstance>, Misfit> {
        let mut wanted = Vec::new();
        for (profile, slot) in profiles {
            let size = self.size(profile).ok_or_else(|| self.unknown(profile))?;
            let starts = match slot {
                None => size.starts,
                Some(slot) => size
                    .starts
                    .chunks(1)
                    .find(|start| start.contains(slot))
                    .ok_or_else(|| Misfit::start(profile, *slot, size))?,
            };
            wanted.push(PlacementRequest { profile, size, starts });
        }
        self.count(&wanted)?;
        // The largest first, and among equals the one with the fewest starts, so that few ways have
        // to be tried.
        wanted.sort_by_key(|one| {
            (u32::MAX - one.size.slots, one.starts.len(), u32::MAX - one.profile.slices())
        });
        let mut placed = Vec::new();
        if !fill(&wanted, 0, &mut placed) {
            return Err(clash(&wanted));
        }
        placed.sort_by_key(|instance| instance.start);
        Ok(placed)
    }

    fn unknown(&self, profile: &MigProfile) -> Misfit {
        if profile.is_shared() {
            return Misfit::Part(profile.clone());
        }
        let names = self.names.iter().map(|name| (*name).to_owned()).collect();
        Misfit::Unknown { profile: profile.clone(), gpu: self.name, names }
    }

    /// Checks the sums, which needs no trying.
    fn count(&self, wanted: &[PlacementRequest<'_>]) -> Result<(), Misfit> {
        for PlacementRequest { profile, size, .. } in wanted {
            let count = wanted.iter().filter(|other| other.profile == *profile).count();
            if count > size.max {
                return Err(Misfit::TooMany { profile: (*profile).clone(), count, max: size.max });
            }
        }
        let media = wanted.iter().filter(|one| one.profile.as_str().contains("+me")).count();
        if media > 1 {
            return Err(Misfit::Media(media));
        }
        let slots = wanted.iter().map(|one| one.size.slots).sum();
        if slots > self.slots {
            return Err(Misfit::Slots { needed: slots, there: self.slots });
        }
        let slices = wanted.iter().map(|one| one.profile.slices()).sum();
        if slices > self.slices {
            return Err(Misfit::Slices { needed: slices, there: self.slices });
        }
        Ok(())
    }
}

/// An instance to be placed, and the slots where it may begin.
struct PlacementRequest<'a> {
    profile: &'a MigProfile,
    size: &'static InstanceSize,
    starts: &'static [u32],
}

/// An instance, and the memory slices that it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedInstance {
    pub profile: MigProfile,
    /// The first slice.
    pub start: u32,
    /// The number of slices.
    pub slots: u32,
}

impl PlacedInstance {
    const fn overlaps(&self, start: u32, slots: u32) -> bool {
        self.start < start + slots && start < self.start + self.slots
    }
}

impl fmt::Display for PlacedInstance {
    /// The form that `nvidia-smi mig -cgi` reads: `3g.20gb:4`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.profile, self.start)
    }
}

/// Tries all ways to place the instances from `next` on. There are few: at most seven instances
/// with at most seven starts each.
fn fill(wanted: &[PlacementRequest<'_>], next: usize, placed: &mut Vec<PlacedInstance>) -> bool {
    let Some(PlacementRequest { profile, size, starts }) = wanted.get(next) else { return true };
    for start in *starts {
        if placed.iter().any(|other| other.overlaps(*start, size.slots)) {
            continue;
        }
        placed.push(PlacedInstance {
            profile: (*profile).clone(),
            start: *start,
            slots: size.slots,
        });
        if fill(wanted, next + 1, placed) {
            return true;
        }
        placed.pop();
    }
    false
}

/// The error for the first instance that has no place beside those before it.
fn clash(wanted: &[PlacementRequest<'_>]) -> Misfit {
    let fits = |count: &usize| fill(wanted.get(..*count).unwrap_or_default(), 0, &mut Vec::new());
    let count = (0..wanted.len()).rev().find(fits).unwrap_or_default();
    let beside = wanted.iter().take(count).map(|one| one.profile.clone()).collect();
    match wanted.get(count) {
        Some(PlacementRequest { profile, starts, .. }) => {
            Misfit::Clash { profile: (*profile).clone(), starts, beside }
        }
        None => Misfit::Slots { needed: 0, there: 0 },
    }
}

/// Why instances do not fit on one GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misfit {
    /// The GPU has no such size.
    Unknown {
        profile: MigProfile,
        /// The kind of GPU.
        gpu: &'static str,
        /// The sizes that it has.
        names: Vec<String>,
    },
    /// The profile is only a part of a GPU instance.
    Part(MigProfile),
    /// No instance of this size begins at the slot.
    Start {
        profile: MigProfile,
        slot: u32,
        /// Where it can begin.
        starts: &'static [u32],
    },
    /// More instances of one size than a GPU can have.
    TooMany {
        profile: MigProfile,
        /// How many are wanted.
        count: usize,
        /// How many there can be.
        max: usize,
    },
    /// More than one instance with media engines.
    Media(usize),
    /// Too few memory slices.
    Slots { needed: u32, there: u32 },
    /// Too few compute slices.
    Slices { needed: u32, there: u32 },
    /// Enough slices, but not at a slot where the instance can begin.
    Clash {
        /// The instance without a place.
        profile: MigProfile,
        /// Where it can begin.
        starts: &'static [u32],
        beside: Vec<MigProfile>,
    },
}

impl Misfit {
    fn start(profile: &MigProfile, slot: u32, size: &'static InstanceSize) -> Self {
        Self::Start { profile: profile.clone(), slot, starts: size.starts }
    }
}

impl fmt::Display for Misfit {
    /// A phrase without a full stop.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { profile, gpu, .. } => {
                write!(f, "{gpu} has no MIG profile {profile}")
            }
            Self::Part(profile) => {
                write!(f, "{profile} is a compute instance, a part of a GPU instance")
            }
            Self::Start { profile, slot, starts } => {
                write!(f, "{profile} cannot begin at slot {slot}, only at {}", listed(starts))
            }
            Self::TooMany { profile, count, max } => {
                write!(f, "{count} × {profile} is more than the {max} that a GPU can have")
            }
            Self::Media(count) => write!(
                f,
                "{count} instances with media extensions (+me) are wanted, and only one can have \
                 them"
            ),
            Self::Slots { needed, there } => {
                write!(f, "{needed} memory slices are wanted of the {there} that the GPU has")
            }
            Self::Slices { needed, there } => {
                write!(f, "{needed} compute slices are wanted of the {there} that the GPU has")
            }
            Self::Clash { profile, starts, beside } => {
                let beside: Vec<&str> = beside.iter().map(MigProfile::as_str).collect();
                let slots = if starts.len() == 1 { "slot" } else { "one of the slots" };
                write!(
                    f,
                    "{profile} has to begin at {slots} {}, which leaves it no place beside {}",
                    listed(starts),
                    beside.join(", ")
                )
            }
        }
    }
}

fn listed(slots: &[u32]) -> String {
    slots.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
