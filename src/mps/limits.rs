//! The limits that a daemon sets its clients, whatever their variables say.

use super::control::ControlClient;
use super::fault;
use crate::failure::Failure;
use crate::injection::{self, whole_mib};
use crate::model::quantity::{Bytes, MilliGpu};
use crate::model::text::shown_line;

/// What all clients of one daemon are held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientLimits {
    /// Percent of the GPU's threads, from 1 to 100.
    pub percent: u32,
    /// Memory of each client process; without one, what the device has.
    pub memory: Option<Bytes>,
}

/// A lease's part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    pub milli: MilliGpu,
    pub memory: Option<Bytes>,
    /// No other may have more.
    pub pinned: bool,
}

/// The limits of a daemon for all these: the largest share, or the smallest of those that nobody may
/// exceed. Without any, there is none but the device itself.
pub fn for_all(shares: &[Share]) -> ClientLimits {
    let pinned = shares.iter().filter(|share| share.pinned);
    let largest = shares.iter().map(|share| share.milli).max().unwrap_or(MilliGpu::WHOLE);
    let milli = pinned.map(|share| share.milli).min().unwrap_or(largest);
    // One that has no limit of memory has all of it.
    let memory: Option<Vec<Bytes>> = shares.iter().map(|share| share.memory).collect();
    ClientLimits {
        percent: injection::percentage(milli),
        memory: memory.unwrap_or_default().into_iter().max(),
    }
}

/// Sets them, reads them back, and fails unless the daemon has taken them. Servers that run already
/// have limits of their own, which are set too, for clients to come. Fails if the daemon does not
/// answer, or says something else than what it was told.
pub fn set(front: &ControlClient<'_>, limits: ClientLimits) -> Result<(), Failure> {
    let percent = limits.percent;
    percentage(
        front,
        "get_default_active_thread_percentage",
        &format!("set_default_active_thread_percentage {percent}"),
        percent,
    )?;
    pin(front, limits.memory)?;
    for server in front.pids("get_server_list")? {
        let done = of_server(front, server, limits);
        // It may have ended meanwhile.
        if let Err(fault) = done
            && front.pids("get_server_list")?.contains(&server)
        {
            return Err(fault);
        }
    }
    Ok(())
}

fn of_server(front: &ControlClient<'_>, server: i32, limits: ClientLimits) -> Result<(), Failure> {
    let ClientLimits { percent, memory } = limits;
    percentage(
        front,
        &format!("get_active_thread_percentage {server}"),
        &format!("set_active_thread_percentage {server} {percent}"),
        percent,
    )?;
    // In which form it would tell this limit has not been seen, so it is not asked.
    match memory {
        Some(memory) => front
            .say(&format!("set_device_pinned_mem_limit {server} 0 {}M", whole_mib(memory)))
            .map(drop),
        None => Ok(()),
    }
}

fn percentage(front: &ControlClient<'_>, get: &str, set: &str, wanted: u32) -> Result<(), Failure> {
    let is =
        |answer: &str| answer.parse::<f64>().is_ok_and(|p| (p - f64::from(wanted)).abs() < 0.05);
    if is(&front.say(get)?) {
        return Ok(());
    }
    front.say(set)?;
    let answer = front.say(get)?;
    if is(&answer) { Ok(()) } else { Err(not_taken(set, &answer)) }
}

const GET_MEMORY: &str = "get_default_device_pinned_mem_limit 0";

/// The device is the daemon's only one, and so its number 0. Set whatever it has: what it tells is
/// coarser than what it was told ([`as_told`]).
fn pin(front: &ControlClient<'_>, memory: Option<Bytes>) -> Result<(), Failure> {
    // An earlier share may have left a limit. The daemon takes an amount of nothing for none, and
    // has none to tell then.
    if memory.is_none() && !is_amount(&front.say(GET_MEMORY)?) {
        return Ok(());
    }
    let mib = memory.map_or(0, whole_mib);
    let set = format!("set_default_device_pinned_mem_limit 0 {mib}M");
    front.say(&set)?;
    let answer = front.say(GET_MEMORY)?;
    let is_taken = memory.map_or(!is_amount(&answer), |_| answer == as_told(mib));
    if is_taken { Ok(()) } else { Err(not_taken(&set, &answer)) }
}

/// How a daemon tells a limit of so many MiB: whole GiB from 1024 MiB on, rounded down, although it
/// holds its clients to what was set (seen with 550.163).
fn as_told(mib: u64) -> String {
    if mib < 1024 { format!("{mib}M") } else { format!("{}G", mib >> 10) }
}

fn is_amount(answer: &str) -> bool {
    let number = answer.strip_suffix(['M', 'G']);
    number.is_some_and(|number| number.parse::<u64>().is_ok())
}

fn not_taken(command: &str, answer: &str) -> Failure {
    let answer = if answer.is_empty() { "nothing" } else { answer };
    fault(format!("after `{command}` the MPS daemon says {}", shown_line(answer)))
        .hint("its log directory may tell why")
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
        assert_eq!(limits, ClientLimits { percent: 50, memory: Some(Bytes::from_mib(100)) });
        let limits = for_all(&[share(250, 100, true), share(200, 300, false), share(300, 1, true)]);
        assert_eq!(limits, ClientLimits { percent: 25, memory: Some(Bytes::from_mib(300)) });
        assert_eq!(for_all(&[]), ClientLimits { percent: 100, memory: None });
        assert_eq!(for_all(&[share(5, 1, false)]).percent, 1);
        let without = Share { memory: None, ..share(100, 0, false) };
        assert_eq!(for_all(&[without, share(100, 7, false)]).memory, None);
    }

    #[test]
    fn amounts_are_told_in_whole_gib_from_one_on() {
        let told = [1, 1023, 1024, 1025, 1536, 22691, 40552].map(as_told);
        assert_eq!(told, ["1M", "1023M", "1G", "1G", "1G", "22G", "39G"]);
        assert!(is_amount("4G") && is_amount("512M"));
        assert_eq!(whole_mib(Bytes(1 << 19)), 1, "0M would be no limit");
        assert!(!is_amount("") && !is_amount("M") && !is_amount("No limit"));
    }
}
