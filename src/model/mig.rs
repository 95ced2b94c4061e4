//! NVIDIA's Multi-Instance GPU. A GPU in MIG mode is not used itself; its instances are.

use super::id::DeviceId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The part of a device in MIG.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mig {
    /// A GPU in MIG mode. CUDA does not run on it, only on its instances.
    Enabled,
    /// An instance of such a GPU.
    Instance(MigInstance),
}

/// A GPU instance with the one compute instance that spans it. `nvidia-smi -L` shows it as
/// `MIG 1g.5gb Device 0`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigInstance {
    /// The GPU that the instance is a part of.
    pub parent: DeviceId,
    pub profile: MigProfile,
    /// The position among the instances of its GPU: the second number of `2:0`.
    pub index: u32,
    /// The id of the GPU instance. With the GPU's minor number it decides the capability nodes.
    pub gi: u32,
    pub ci: u32,
}

/// The largest GPU instance id (`/proc/driver/nvidia-caps/mig-minors` lists 0 to 14).
pub const GI_MAX: u32 = 14;

/// The largest compute instance id (the same file lists 0 to 7).
pub const CI_MAX: u32 = 7;

/// The most compute slices that a GPU has. Some models have fewer.
pub const SLICES_MAX: u32 = 7;

/// A device's number as `nvidia-smi` writes it: `2` for a GPU, and `2:0` for the first MIG instance
/// of GPU 2. A GPU sorts before its instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceNumber {
    /// The GPU's position in PCI order.
    pub gpu: u32,
    /// The instance's position on the GPU.
    pub instance: Option<u32>,
}

impl DeviceNumber {
    /// Whether `next` is the next GPU, or the next instance of the same one.
    fn is_before(self, next: Self) -> bool {
        match (self.instance, next.instance) {
            (None, None) => self.gpu.checked_add(1) == Some(next.gpu),
            (Some(this), Some(other)) => self.gpu == next.gpu && this.checked_add(1) == Some(other),
            _ => false,
        }
    }
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.instance {
            None => write!(f, "{}", self.gpu),
            Some(instance) => write!(f, "{}:{instance}", self.gpu),
        }
    }
}

/// Ascending numbers as ranges, `0-3` or `2:0-3`. A range has one value.
pub fn ranges<T: PartialEq>(
    places: impl IntoIterator<Item = (DeviceNumber, T)>,
) -> Vec<(String, T)> {
    let mut runs: Vec<(DeviceNumber, DeviceNumber, T)> = Vec::new();
    for (place, value) in places {
        match runs.last_mut() {
            Some((_, end, of)) if end.is_before(place) && *of == value => *end = place,
            _ => runs.push((place, place, value)),
        }
    }
    let text = |start: DeviceNumber, end: DeviceNumber| {
        let last = end.instance.unwrap_or(end.gpu);
        if start == end { start.to_string() } else { format!("{start}-{last}") }
    };
    runs.into_iter().map(|(start, end, value)| (text(start, end), value)).collect()
}

/// Ascending numbers as text: `GPU 0-3, 6`, `MIG 2:0-3, 3:1`, or both.
pub fn named_ranges(places: &[DeviceNumber]) -> String {
    let is_gpu = |place: &DeviceNumber| place.instance.is_none();
    let (gpus, instances): (Vec<DeviceNumber>, Vec<DeviceNumber>) =
        places.iter().copied().partition(is_gpu);
    let kinds = [("GPU", gpus), ("MIG", instances)];
    let kinds = kinds.into_iter().filter(|(_, places)| !places.is_empty());
    let texts = kinds.map(|(kind, places)| {
        let ranges = ranges(places.into_iter().map(|place| (place, ())));
        let texts: Vec<String> = ranges.into_iter().map(|(text, ())| text).collect();
        format!("{kind} {}", texts.join(", "))
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// The name of an instance size, as `nvidia-smi mig -lgip` spells it: `1g.10gb`, `1g.5gb+me`,
/// `1g.24gb-me`. A size with several compute instances on one GPU instance is `1c.3g.20gb`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MigProfile(String);

impl MigProfile {
    /// Reads a profile. Kubernetes does not allow `+` in names of resources, so `1g.5gb.me` is read
    /// as `1g.5gb+me`. The error is the rest of a sentence that begins with the text.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        const NOT_ONE: &str = "which is not a MIG profile";
        let (size, attributes) = split(text).ok_or(NOT_ONE)?;
        let parts: Vec<&str> = size.split('.').collect();
        let sized = match parts.as_slice() {
            [slices, memory] => sized(slices, "g").is_some() && sized(memory, "gb").is_some(),
            [compute, slices, memory] => {
                let amounts = [sized(compute, "c"), sized(slices, "g"), sized(memory, "gb")];
                amounts.iter().all(Option::is_some)
            }
            _ => false,
        };
        let canonical = match attributes.strip_prefix('.') {
            Some(names) => format!("{size}+{names}"),
            None => text.to_owned(),
        };
        if sized && are_attributes(attributes) { Ok(Self(canonical)) } else { Err(NOT_ONE) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The compute slices of the GPU instance.
    pub fn slices(&self) -> u32 {
        self.0.split('.').find_map(|part| sized(part, "g")).unwrap_or(SLICES_MAX)
    }

    /// Whether the profile is a part of a GPU instance, which shares its memory with the other
    /// parts.
    pub fn is_shared(&self) -> bool {
        self.0.split('.').next().is_some_and(|part| part.ends_with('c'))
    }
}

/// Splits the text behind `gb`: the size, and its attributes.
fn split(text: &str) -> Option<(&str, &str)> {
    text.split_at_checked(text.find("gb")? + "gb".len())
}

/// Whether the text is empty, or attributes like `+me`, `-me`, `.me`, `+me.all`.
fn are_attributes(text: &str) -> bool {
    let Some(names) = text.strip_prefix(['+', '-', '.']) else { return text.is_empty() };
    names.len() <= 32
        && names.split('.').all(|name| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'+')
        })
}

/// The number before a unit: `3g` in `g` is 3. It has up to three digits and is not 0.
fn sized(text: &str, unit: &str) -> Option<u32> {
    let digits = text.strip_suffix(unit)?;
    let fits = (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|number| fits && *number > 0)
}

impl fmt::Display for MigProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for MigProfile {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::new(&text).map_err(|_| {
            format!("`{}` is not a MIG profile like 1g.10gb", super::text::shown(&text))
        })
    }
}

impl From<MigProfile> for String {
    fn from(profile: MigProfile) -> Self {
        profile.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_of_nvidia_and_kubernetes_are_read() {
        for (text, name, slices, shared) in [
            ("1g.5gb", "1g.5gb", 1, false),
            ("7g.141gb", "7g.141gb", 7, false),
            ("1g.5gb+me", "1g.5gb+me", 1, false),
            ("1g.5gb.me", "1g.5gb+me", 1, false),
            ("1g.24gb-me", "1g.24gb-me", 1, false),
            ("2g.48gb+me.all", "2g.48gb+me.all", 2, false),
            ("1c.3g.20gb", "1c.3g.20gb", 3, true),
        ] {
            let profile = MigProfile::new(text).unwrap();
            assert_eq!((profile.as_str(), profile.slices()), (name, slices));
            assert_eq!(profile.is_shared(), shared, "{text}");
        }
        for bad in [
            "",
            "1g",
            "5gb",
            "gb",
            "1g.5",
            "0g.5gb",
            "1g.0gb",
            "g.5gb",
            "1G.5gb",
            "1g.5gb+",
            "1g.5gb+ME",
            "1g.5gbme",
            "1g.5gb me",
            "1g.5gb+me.",
            "1c.1c.1g.5gb",
            "1g.1c.5gb",
            "+1g.5gb",
            "1g.5gb/..",
            "9999g.5gb",
            "mig-1g.5gb",
        ] {
            assert!(MigProfile::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_gpu_comes_before_its_instances() {
        let place = |gpu, instance| DeviceNumber { gpu, instance };
        let ordered = [place(0, None), place(1, None), place(1, Some(0)), place(2, None)];
        assert!(ordered.is_sorted());
        assert_eq!(place(1, Some(0)).to_string(), "1:0");
        assert_eq!(place(12, None).to_string(), "12");
        let (a, b) = (Some(0), Some(1));
        let places = [(0, None), (1, None), (3, None), (3, a), (3, b), (4, a), (4, b)];
        let ranges = ranges(places.map(|(gpu, instance)| (place(gpu, instance), gpu == 4)));
        let texts: Vec<&str> = ranges.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(texts, ["0-1", "3", "3:0-1", "4:0-1"]);
    }
}
