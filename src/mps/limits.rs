//! The limits that a daemon sets its clients, whatever their own variables say.

use super::control::ControlClient;
use super::fault;
use crate::failure::Failure;
use crate::injection::{self, whole_mib};
use crate::model::quantity::{Bytes, MilliGpu};
use crate::model::text::shown_line;

/// The limits of each client of one daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientLimits {
    /// Percent of the GPU's threads, from 1 to 100.
    pub percent: u32,
    /// Memory of each client process. `None` is no limit.
    pub memory: Option<Bytes>,
}

/// A lease's share of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    pub milli: MilliGpu,
    pub memory: Option<Bytes>,
    /// No other lease may have a larger share.
    pub pinned: bool,
}

/// The limits of a daemon that serves all these shares: the largest share of compute, or, where
/// some are pinned, the smallest of those. Without any share there is no limit.
pub fn for_all(shares: &[Share]) -> ClientLimits {
    let pinned = shares.iter().filter(|share| share.pinned);
    let largest = shares.iter().map(|share| share.milli).max().unwrap_or(MilliGpu::WHOLE);
    let milli = pinned.map(|share| share.milli).min().unwrap_or(largest);
    // A share without a limit of memory may have all of it.
    let memory: Option<Vec<Bytes>> = shares.iter().map(|share| share.memory).collect();
    ClientLimits {
        percent: injection::percentage(milli),
        memory: memory.unwrap_or_default().into_iter().max(),
    }
}

/// Sets the limits and reads them back. A server that runs already has limits of its own, which are
/// set too, for clients that come later. Fails if the daemon does not answer, or answers with
/// another limit.
pub fn set(client: &ControlClient<'_>, limits: ClientLimits) -> Result<(), Failure> {
    let percent = limits.percent;
    percentage(
        client,
        "get_default_active_thread_percentage",
        &format!("set_default_active_thread_percentage {percent}"),
        percent,
    )?;
    limit_memory(client, limits.memory)?;
    for server in client.pids("get_server_list")? {
        let done = of_server(client, server, limits);
        // The server may have ended meanwhile.
        if let Err(fault) = done
            && client.pids("get_server_list")?.contains(&server)
        {
            return Err(fault);
        }
    }
    Ok(())
}

fn of_server(client: &ControlClient<'_>, server: i32, limits: ClientLimits) -> Result<(), Failure> {
    let ClientLimits { percent, memory } = limits;
    percentage(
        client,
        &format!("get_active_thread_percentage {server}"),
        &format!("set_active_thread_percentage {server} {percent}"),
        percent,
    )?;
    // This limit is not read back: the form of the answer is not known.
    match memory {
        Some(memory) => client
            .ask(&format!("set_device_pinned_mem_limit {server} 0 {}M", whole_mib(memory)))
            .map(drop),
        None => Ok(()),
    }
}

fn percentage(
    client: &ControlClient<'_>,
    get: &str,
    set: &str,
    wanted: u32,
) -> Result<(), Failure> {
    let is =
        |answer: &str| answer.parse::<f64>().is_ok_and(|p| (p - f64::from(wanted)).abs() < 0.05);
    if is(&client.ask(get)?) {
        return Ok(());
    }
    client.ask(set)?;
    let answer = client.ask(get)?;
    if is(&answer) { Ok(()) } else { Err(not_taken(set, &answer)) }
}

const GET_MEMORY: &str = "get_default_device_pinned_mem_limit 0";

/// Sets the limit of memory for the daemon's only device, which is its number 0. It is set even if
/// the daemon answers with the same amount, for the answer is rounded ([`as_answered`]).
fn limit_memory(client: &ControlClient<'_>, memory: Option<Bytes>) -> Result<(), Failure> {
    // An earlier share may have left a limit. An amount of 0 takes it away, and the answer has no
    // amount then.
    if memory.is_none() && !is_amount(&client.ask(GET_MEMORY)?) {
        return Ok(());
    }
    let mib = memory.map_or(0, whole_mib);
    let set = format!("set_default_device_pinned_mem_limit 0 {mib}M");
    client.ask(&set)?;
    let answer = client.ask(GET_MEMORY)?;
    let is_taken = memory.map_or(!is_amount(&answer), |_| answer == as_answered(mib));
    if is_taken { Ok(()) } else { Err(not_taken(&set, &answer)) }
}

/// The daemon's answer for a limit of so many MiB: whole GiB from 1024 MiB on, rounded down. Its
/// clients are held to the exact amount (seen with 550.163).
fn as_answered(mib: u64) -> String {
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
    fn amounts_from_one_gib_on_are_rounded() {
        let told = [1, 1023, 1024, 1025, 1536, 22691, 40552].map(as_answered);
        assert_eq!(told, ["1M", "1023M", "1G", "1G", "1G", "22G", "39G"]);
        assert!(is_amount("4G") && is_amount("512M"));
        assert_eq!(whole_mib(Bytes(1 << 19)), 1, "0M would be no limit");
        assert!(!is_amount("") && !is_amount("M") && !is_amount("No limit"));
    }
}
