//! With faked trees; NVML itself is in tests/nvml.rs.
