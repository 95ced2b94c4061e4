//! The errors of GPUs that the driver wrote into the kernel's log. NVML only reports errors that
//! happen while a process listens.

use crate::model::device::PciAddress;
use crate::model::text::shown_line;
use crate::paths::Paths;
use crate::sys::PathError;
use crate::sys::kmsg;

/// Errors that a program causes, as in NVIDIA's device plugin for Kubernetes
/// (`internal/rm/health.go`). They do not mean that the GPU is broken.
const OF_APPLICATIONS: [u32; 6] = [13, 31, 43, 45, 68, 109];

/// Memory errors that the GPU has handled: a row is scheduled to be remapped (63), or one program
/// was ended for an uncorrectable error that reached no other (94). NVML's flags tell whether the
/// GPU has to be reset.
const DEALT_WITH: [u32; 2] = [63, 94];

/// The beginning of a message of the driver.
const DRIVER: &str = "NVRM: ";

/// The message when the driver is loaded. Earlier errors are void.
const LOADING: &str = "NVRM: loading NVIDIA ";

/// More messages than the log can hold.
const MESSAGES_MAX: usize = 1 << 15;

/// An error of a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Xid {
    pub(super) pci: PciAddress,
    /// The GPU instance; `None` for the whole GPU.
    pub(super) gi: Option<u32>,
    /// NVIDIA's number of the error.
    code: u32,
    /// The driver's text.
    text: String,
}

impl Xid {
    pub(super) fn description(&self) -> String {
        let Self { code, text, .. } = self;
        if text.is_empty() { format!("XID {code}") } else { format!("XID {code}: {text}") }
    }
}

/// The errors since the driver was loaded that show that a GPU is broken, oldest first. A log that
/// this process may not read counts as empty. Fails if the log exists and cannot be read.
pub(super) fn read(paths: &Paths) -> Result<Vec<Xid>, PathError> {
    let messages = kmsg::messages(&paths.dev.join("kmsg"), DRIVER, MESSAGES_MAX)?;
    let since = messages.iter().rposition(|message| message.starts_with(LOADING)).unwrap_or(0);
    Ok(messages.iter().skip(since).filter_map(|message| parse(message)).collect())
}

/// `NVRM: Xid (PCI:0000:1b:00): 79, pid=1234, name=python, GPU has fallen off the bus.`
fn parse(message: &str) -> Option<Xid> {
    let (place, rest) = message.strip_prefix("NVRM: Xid (PCI:")?.split_once("): ")?;
    let (pci, instance) = place.split_once(' ').unwrap_or((place, ""));
    // The driver's address has no function.
    let pci = if pci.contains('.') { pci.to_owned() } else { format!("{pci}.0") };
    let (code, text) = rest.split_once(',').unwrap_or((rest, ""));
    let code = code.trim().parse().ok()?;
    let gi = instance.strip_prefix("GPU-I:").and_then(|id| id.parse().ok());
    let is_harmless = OF_APPLICATIONS.contains(&code) || DEALT_WITH.contains(&code);
    let xid = Xid { pci: PciAddress::parse(&pci)?, gi, code, text: shown_line(text) };
    (!is_harmless).then_some(xid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_log(text: &str) -> Vec<(String, Option<u32>, String)> {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        assert_eq!(read(&paths).unwrap(), []);
        std::fs::create_dir_all(&paths.dev).unwrap();
        std::fs::write(paths.dev.join("kmsg"), text).unwrap();
        let xids = read(&paths).unwrap();
        xids.iter().map(|xid| (xid.pci.to_string(), xid.gi, xid.description())).collect()
    }

    #[test]
    fn errors_of_gpus_are_told_from_those_of_programs() {
        let log = "4,1,1,-;NVRM: Xid (PCI:0000:1b:00): 79, pid='<unknown>', name=<unknown>, \
                   GPU has fallen off the bus.\n\
                   4,2,2,-;NVRM: Xid (PCI:0000:1b:00): 31, pid=7, name=python, MMU Fault\n\
                   4,3,3,-;NVRM: Xid (PCI:0000:3d:00): 13, Graphics SM Warp Exception\n\
                   4,4,4,-;NVRM: Xid (PCI:0000:3d:00 GPU-I:05): 95, pid=8, Uncontained\n\
                   4,5,5,-;NVRM: Xid (PCI:0000:3d:00): 48\n\
                   12,6,6,-;NVRM: Xid (PCI:0000:3d:00): 79, written by a program\n\
                   4,7,7,-;NVRM: Xid (PCI:nonsense): 79, x\n\
                   4,8,8,-;NVRM: GPU 0000:3d:00.0: something else\n";
        let of = |pci: &str, gi, text: &str| (pci.to_owned(), gi, text.to_owned());
        assert_eq!(
            read_log(log),
            [
                of(
                    "0000:1b:00.0",
                    None,
                    "XID 79: pid='<unknown>', name=<unknown>, GPU has fallen off the bus."
                ),
                of("0000:3d:00.0", Some(5), "XID 95: pid=8, Uncontained"),
                of("0000:3d:00.0", None, "XID 48"),
            ]
        );
        for code in [OF_APPLICATIONS.as_slice(), &DEALT_WITH].concat() {
            assert_eq!(read_log(&format!("4,1,1,-;NVRM: Xid (PCI:0000:1b:00): {code}, x\n")), []);
        }
    }

    #[test]
    fn what_was_before_the_driver_was_loaded_is_past() {
        let log = "4,1,1,-;NVRM: Xid (PCI:0000:1b:00): 79, lost\n\
                   4,2,2,-;NVRM: loading NVIDIA UNIX x86_64 Kernel Module  550.163.01\n\
                   4,3,3,-;NVRM: Xid (PCI:0000:1c:00): 62, later\n";
        assert_eq!(read_log(log), [("0000:1c:00.0".to_owned(), None, "XID 62: later".to_owned())]);
    }
}
