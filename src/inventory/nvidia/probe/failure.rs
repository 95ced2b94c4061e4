//! The meaning of NVML's errors.

use nvml_wrapper::error::NvmlError;

/// The error in words, which say what to do where NVML's own do not.
pub(super) fn words(error: &NvmlError) -> String {
    match error {
        NvmlError::DriverNotLoaded => "the NVIDIA driver is not loaded".into(),
        NvmlError::LibRmVersionMismatch => "the loaded driver and its libraries are of different \
                                            versions: reboot, or reload the driver"
            .into(),
        NvmlError::GpuLost => "it has fallen off the bus".into(),
        NvmlError::ResetRequired => "it has to be reset".into(),
        NvmlError::NoPermission => "no permission".into(),
        NvmlError::LibloadingError(_) => format!("the library cannot be loaded: {error}"),
        NvmlError::UnexpectedVariant(code) => format!("error {code}"),
        _ => error.to_string(),
    }
}

/// Whether the GPU is unusable until an administrator acts.
pub(super) const fn is_lost(error: &NvmlError) -> bool {
    matches!(error, NvmlError::GpuLost | NvmlError::ResetRequired)
}

/// Whether a working GPU may answer so: it lacks the feature, or the driver is too old.
const fn is_harmless(error: &NvmlError) -> bool {
    matches!(
        error,
        NvmlError::NotSupported
            | NvmlError::NoPermission
            | NvmlError::FailedToLoadSymbol(_)
            | NvmlError::FunctionNotFound
            | NvmlError::NotFound
            | NvmlError::NoData
            | NvmlError::UnexpectedVariant(_)
    )
}

/// Collects the values of a device. Each call may fail by itself.
#[derive(Debug, Default)]
pub(super) struct DeviceProbe {
    /// The first failure that shows that the device does not answer.
    pub(super) fault: Option<String>,
    pub(super) is_lost: bool,
}

impl DeviceProbe {
    /// Takes a value that leases need and that every device has.
    pub(super) fn need<T>(&mut self, what: &str, told: Result<T, NvmlError>) -> Option<T> {
        self.take(what, told, |error| !is_harmless(error))
    }

    /// Takes a value that some devices lack. A failure is a fault only if it shows that the device
    /// does not answer at all.
    pub(super) fn may<T>(&mut self, what: &str, told: Result<T, NvmlError>) -> Option<T> {
        self.take(what, told, |error| {
            is_lost(error) || matches!(error, NvmlError::Timeout | NvmlError::IrqIssue)
        })
    }

    fn take<T>(
        &mut self,
        what: &str,
        told: Result<T, NvmlError>,
        is_fault: impl Fn(&NvmlError) -> bool,
    ) -> Option<T> {
        let error = match told {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        self.is_lost |= is_lost(&error);
        if self.fault.is_none() && is_fault(&error) {
            let words = words(&error);
            let is_whole = is_lost(&error);
            self.fault = Some(if is_whole { words } else { format!("its {what}: {words}") });
        }
        None
    }
}
