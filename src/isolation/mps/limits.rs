//! The limits that a daemon sets its clients, whatever their variables say.

use super::Fault;
use super::front::Front;
use crate::model::quantity::{Bytes, MilliGpu};
use crate::model::text::shown_line;

/// What all clients of one daemon are held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Percent of the GPU's threads, from 1 to 100.
    pub percent: u32,
    /// Memory of each client process; without one, what the device has.
    pub memory: Option<Bytes>,
}

/// A lease's part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Compute.
    pub milli: MilliGpu,
    /// Memory.
    pub memory: Option<Bytes>,
    /// No other may have more.
    pub pinned: bool,
}

/// The limits of a daemon for all these: the largest share, or the smallest of those that nobody may
/// exceed. Without any, there is none but the device itself.
#[must_use]
pub fn for_all(shares: &[Share]) -> Limits {
    let pinned = shares.iter().filter(|share| share.pinned);
    let largest = shares.iter().map(|share| share.milli).max().unwrap_or(MilliGpu::WHOLE);
    let milli = pinned.map(|share| share.milli).min().unwrap_or(largest);
    // One that has no limit of memory has all of it.
    let memory: Option<Vec<Bytes>> = shares.iter().map(|share| share.memory).collect();
    Limits {
        percent: (milli.0 / 10).clamp(1, 100),
        memory: memory.unwrap_or_default().into_iter().max(),
    }
}

/// Sets them, reads them back, and fails unless the daemon has taken them. Servers that run already
/// have a limit of their own, which is set too.
///
/// # Errors
/// If the daemon does not answer, or says something else than what it was told.
pub fn set(front: &Front<'_>, limits: Limits) -> Result<(), Fault> {
    let percent = limits.percent;
    percentage(
        front,
        "get_default_active_thread_percentage",
        &format!("set_default_active_thread_percentage {percent}"),
        percent,
    )?;
    for server in front.pids("get_server_list")? {
        let done = percentage(
            front,
            &format!("get_active_thread_percentage {server}"),
            &format!("set_active_thread_percentage {server} {percent}"),
            percent,
        );
        // It may have ended meanwhile.
        if let Err(fault) = done
            && front.pids("get_server_list")?.contains(&server)
        {
            return Err(fault);
        }
    }
    match limits.memory {
        Some(memory) => pin(front, memory),
        None => Ok(()),
    }
}

fn percentage(front: &Front<'_>, get: &str, set: &str, wanted: u32) -> Result<(), Fault> {
    let is =
        |answer: &str| answer.parse::<f64>().is_ok_and(|p| (p - f64::from(wanted)).abs() < 0.05);
    if is(&front.say(get)?) {
        return Ok(());
    }
    front.say(set)?;
    let answer = front.say(get)?;
    if is(&answer) { Ok(()) } else { Err(not_taken(set, &answer)) }
}

/// The device is the daemon's only one, and so its number 0.
fn pin(front: &Front<'_>, memory: Bytes) -> Result<(), Fault> {
    let get = "get_default_device_pinned_mem_limit 0";
    let set = format!("set_default_device_pinned_mem_limit 0 {}M", memory.mib());
    if mib(&front.say(get)?) == Some(memory.mib()) {
        return Ok(());
    }
    front.say(&set)?;
    let answer = front.say(get)?;
    if mib(&answer) == Some(memory.mib()) { Ok(()) } else { Err(not_taken(&set, &answer)) }
}

fn not_taken(command: &str, answer: &str) -> Fault {
    let answer = if answer.is_empty() { "nothing" } else { answer };
    Fault::new(format!("after `{command}` the MPS daemon says {}", shown_line(answer)))
        .hint("its log directory may tell why")
}

/// `4G` or `512M` in MiB.
#[must_use]
pub fn mib(text: &str) -> Option<u64> {
    if let Some(number) = text.strip_suffix('G') {
        return number.parse::<u64>().ok()?.checked_mul(1024);
    }
    text.strip_suffix('M')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(milli: u32, mib: u64, pinned: bool) -> Share {
        Share { milli: MilliGpu(milli), memory: Some(Bytes::from_mib(mib)), pinned }
    }

    #[test]
    fn the_largest_share_counts_unless_one_is_pinned() {
        let limits = for_all(&[share(250, 100, false), share(505, 50, false)]);
        assert_eq!(limits, Limits { percent: 50, memory: Some(Bytes::from_mib(100)) });
        let limits = for_all(&[share(250, 100, true), share(200, 300, false), share(300, 1, true)]);
        assert_eq!(limits, Limits { percent: 25, memory: Some(Bytes::from_mib(300)) });
        assert_eq!(for_all(&[]), Limits { percent: 100, memory: None });
        assert_eq!(for_all(&[share(5, 1, false)]).percent, 1);
        let without = Share { memory: None, ..share(100, 0, false) };
        assert_eq!(for_all(&[without, share(100, 7, false)]).memory, None);
    }

    #[test]
    fn amounts_are_read_in_both_units() {
        assert_eq!(
            (mib("4G"), mib("512M"), mib(""), mib("x")),
            (Some(4096), Some(512), None, None)
        );
    }
}
