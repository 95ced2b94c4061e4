//! The environment variables by which a container's libraries and tools know its devices.

/// What NVIDIA's toolkit gives a container, and tools in it read.
pub const NVIDIA_VISIBLE: &str = "NVIDIA_VISIBLE_DEVICES";
/// The features of NVIDIA's driver that a container may use.
pub const NVIDIA_CAPABILITIES: &str = "NVIDIA_DRIVER_CAPABILITIES";
pub const CUDA_VISIBLE: &str = "CUDA_VISIBLE_DEVICES";
pub const CUDA_ORDER: &str = "CUDA_DEVICE_ORDER";
/// What AMD's toolkit gives a container.
pub const AMD_VISIBLE: &str = "AMD_VISIBLE_DEVICES";
pub const HIP_VISIBLE: &str = "HIP_VISIBLE_DEVICES";
pub const ROCR_VISIBLE: &str = "ROCR_VISIBLE_DEVICES";
pub const GPU_ORDINAL: &str = "GPU_DEVICE_ORDINAL";
pub const LEVEL_ZERO_MASK: &str = "ZE_AFFINITY_MASK";
/// The daemon's pipe directory, to CUDA (NVIDIA, Multi-Process Service, "Environment variables").
pub const MPS_PIPE: &str = "CUDA_MPS_PIPE_DIRECTORY";
pub const MPS_LOG: &str = "CUDA_MPS_LOG_DIRECTORY";
