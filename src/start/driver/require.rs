//! Checks the requirements of an image, such as `NVIDIA_REQUIRE_CUDA=cuda>=12.4 driver>=525`.
//!
//! The language is that of NVIDIA's container tools (libnvidia-container, "dsl.c"; NVIDIA Container
//! Toolkit, "Constraints"): a value is a list of alternatives, separated by spaces, of which one
//! has to hold; an alternative is a list of conditions, separated by commas, which all have to
//! hold. The image's author may be wrong. So a condition holds if it is not understood, or if the
//! node's value is not known.

use crate::failure::Failure;
use crate::model::code::Code;
use crate::model::device::Device;
use crate::model::driver::Driver;
use crate::model::text::shown;
use crate::model::variables::{
    NVIDIA_DISABLE_REQUIRE as DISABLE, NVIDIA_REQUIRE_JETPACK as JETSON,
    NVIDIA_REQUIRE_PREFIX as PREFIX,
};
use std::cmp::Ordering;

/// Checks each granted GPU by all variables of the container. Fails with `requirement-unmet`, which
/// names the variable and the node's values.
pub(super) fn check(
    env: &[(String, String)],
    driver: &Driver,
    gpus: &[&Device],
) -> Result<(), Failure> {
    let disabled = env.iter().rev().find(|(name, _)| name == DISABLE);
    if disabled.is_some_and(|(_, value)| is_true(value)) {
        return Ok(());
    }
    let is_one = |name: &str| name.starts_with(PREFIX) && !name.starts_with(JETSON);
    for (name, value) in env.iter().filter(|(name, _)| is_one(name)) {
        for gpu in gpus {
            let has = NodeValues::of(driver, gpu);
            if !has.fulfils(value) {
                return Err(unmet(name, value, &has));
            }
        }
    }
    Ok(())
}

/// Whether a boolean is true as NVIDIA's tools read it (Go, `strconv.ParseBool`).
fn is_true(value: &str) -> bool {
    matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

fn unmet(name: &str, value: &str, has: &NodeValues<'_>) -> Failure {
    let text = format!(
        "the container's `{}` requires `{}`, and this node has {has}",
        shown(name),
        shown(value)
    );
    Failure::new(Code::RequirementUnmet, text).hint(format!(
        "use an image for this driver, or upgrade the driver, or set {DISABLE}=1 in the container"
    ))
}

/// The node's values that a condition can name.
struct NodeValues<'a> {
    cuda: Option<&'a str>,
    driver: Option<&'a str>,
    arch: Option<&'a str>,
    brand: Option<&'a str>,
}

impl std::fmt::Display for NodeValues<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = [
            ("cuda", self.cuda),
            ("driver", self.driver),
            ("arch", self.arch),
            ("brand", self.brand),
        ];
        let known = all.iter().filter_map(|(name, value)| Some((name, (*value)?)));
        for (place, (name, value)) in known.enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{name} {value}")?;
        }
        Ok(())
    }
}

impl<'a> NodeValues<'a> {
    fn of(driver: &'a Driver, gpu: &'a Device) -> Self {
        Self {
            cuda: driver.cuda.as_deref(),
            driver: driver.version.as_deref(),
            arch: gpu.details.arch.as_deref(),
            brand: gpu.details.brand.as_deref(),
        }
    }

    fn fulfils(&self, value: &str) -> bool {
        let mut alternatives = value.split_whitespace().peekable();
        alternatives.peek().is_none()
            || alternatives.any(|all| all.split(',').all(|condition| self.holds(condition)))
    }

    fn holds(&self, condition: &str) -> bool {
        let is_operator = |c: char| matches!(c, '=' | '!' | '<' | '>');
        let Some(at) = condition.find(is_operator) else { return true };
        let (name, rest) = condition.split_at(at);
        let wanted = rest.trim_start_matches(is_operator);
        let operator = rest.strip_suffix(wanted).unwrap_or_default();
        match name {
            "cuda" => versions_hold(self.cuda, operator, wanted),
            "driver" => versions_hold(self.driver, operator, wanted),
            "arch" => versions_hold(self.arch, operator, wanted),
            "brand" => self.brand.is_none_or(|brand| match operator {
                "=" | "==" => brand.eq_ignore_ascii_case(wanted),
                "!=" => !brand.eq_ignore_ascii_case(wanted),
                _ => true,
            }),
            _ => true,
        }
    }
}

fn versions_hold(has: Option<&str>, operator: &str, wanted: &str) -> bool {
    let Some((has, wanted)) = has.and_then(numbers).zip(numbers(wanted)) else { return true };
    let order = compare(&has, &wanted);
    match operator {
        "=" | "==" => order == Ordering::Equal,
        "!=" => order != Ordering::Equal,
        "<" => order == Ordering::Less,
        "<=" => order != Ordering::Greater,
        ">" => order == Ordering::Greater,
        ">=" => order != Ordering::Less,
        _ => true,
    }
}

/// The numbers of a version; `None` if it is not a version.
fn numbers(version: &str) -> Option<Vec<u32>> {
    version.split('.').map(|part| part.parse().ok()).collect()
}

/// A missing number is zero.
fn compare(a: &[u32], b: &[u32]) -> Ordering {
    let at = |list: &[u32], place: usize| list.get(place).copied().unwrap_or(0);
    let places = 0..a.len().max(b.len());
    places.map(|p| at(a, p).cmp(&at(b, p))).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::device::{Details, Vendor};
    use crate::model::fixtures;
    use proptest::prelude::*;

    const HAS: NodeValues<'_> = NodeValues {
        cuda: Some("12.2"),
        driver: Some("535.216.01"),
        arch: Some("8.0"),
        brand: Some("tesla"),
    };

    #[test]
    fn alternatives_and_conditions() {
        for yes in [
            "cuda>=12.2",
            "cuda>=11.0",
            "cuda>=12.4 brand=tesla,driver>=535,driver<536",
            "driver>=535.216",
            "arch>=7.0,arch<9",
            "brand!=geforce",
            "brand=Tesla",
            "cuda=12.2.0",
            "",
            "  ",
            // Not understood.
            "gsp>=3",
            "cuda",
            "cuda>=",
            "cuda>=twelve",
            "cuda>>12",
            "=",
            ",",
            "driver>=535,",
            "cuda>=99999999999999999999",
        ] {
            assert!(HAS.fulfils(yes), "{yes}");
        }
        for no in [
            "cuda>=12.4",
            "cuda>=12.4 brand=geforce,driver>=535",
            "cuda>=12.4 brand=tesla,driver>=550,driver<551",
            "driver<535",
            "arch=9.0",
            "cuda!=12.2",
            "cuda>12.2",
            "brand=titan",
        ] {
            assert!(!HAS.fulfils(no), "{no}");
        }
        let unknown = NodeValues { cuda: None, driver: None, arch: None, brand: None };
        assert!(unknown.fulfils("cuda>=99,driver>=999,arch=1,brand=x"));
        assert_eq!(HAS.to_string(), "cuda 12.2, driver 535.216.01, arch 8.0, brand tesla");
    }

    fn driver() -> Driver {
        Driver {
            vendor: Vendor::Nvidia,
            version: Some("535.216.01".to_owned()),
            cuda: Some("12.2".to_owned()),
            library: None,
            root: "/".to_owned(),
            files: Vec::new(),
        }
    }

    fn gpu(brand: &str) -> Device {
        let details = Details { brand: Some(brand.to_owned()), ..Details::default() };
        Device { details, ..fixtures::device("GPU-1", Vendor::Nvidia) }
    }

    #[test]
    fn every_variable_has_to_hold_for_every_gpu() {
        let (tesla, titan) = (gpu("tesla"), gpu("titan"));
        let judge = |env: &[(&str, &str)], gpus: &[&Device]| {
            let env: Vec<(String, String)> =
                env.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            check(&env, &driver(), gpus).map_err(|failure| failure.message)
        };
        let cuda = ("NVIDIA_REQUIRE_CUDA", "cuda>=12.4 brand=tesla,driver>=535");
        assert_eq!(judge(&[cuda, ("NVIDIA_REQUIRE_JETPACK", "cuda>=99")], &[&tesla]), Ok(()));
        let message = judge(&[cuda], &[&tesla, &titan]).unwrap_err();
        let (name, has) = ("`NVIDIA_REQUIRE_CUDA`", "cuda 12.2, driver 535.216.01, brand titan");
        assert!(message.contains(name) && message.contains(has), "{message}");
        let other = ("NVIDIA_REQUIRE_DRIVER", "driver>=550\u{1b}[2J");
        assert_eq!(judge(&[other], &[&tesla]), Ok(()), "no version, so not understood");
        let other = ("NVIDIA_REQUIRE_\u{1b}[2J", "driver>=550");
        let message = judge(&[cuda, other], &[&tesla]).unwrap_err();
        assert!(!message.contains('\u{1b}'), "{message:?}");
        let env = |disable| [cuda, other, ("NVIDIA_DISABLE_REQUIRE", disable)];
        assert_eq!(judge(&env("true"), &[&titan]), Ok(()));
        assert!(judge(&env("0"), &[&titan]).is_err());
    }

    proptest! {
        #[test]
        fn no_text_does_harm(text in "\\PC{0,60}", words in "[a-z0-9.=<>!, ]{0,60}") {
            let _ = HAS.fulfils(&text);
            let _ = HAS.fulfils(&words);
        }
    }
}
