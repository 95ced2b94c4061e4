//! The names of all environment variables, except those of requests (`request::keys`).

/// The devices that NVIDIA's toolkit gives a container, which tools in it read.
pub const NVIDIA_VISIBLE: &str = "NVIDIA_VISIBLE_DEVICES";
/// The features of NVIDIA's driver that a container may use.
pub const NVIDIA_CAPABILITIES: &str = "NVIDIA_DRIVER_CAPABILITIES";
/// An image's requirements begin so (NVIDIA Container Toolkit, "Constraints").
pub const NVIDIA_REQUIRE_PREFIX: &str = "NVIDIA_REQUIRE_";
pub const NVIDIA_REQUIRE_CUDA: &str = "NVIDIA_REQUIRE_CUDA";
/// A mode of Jetson, and not a requirement.
pub const NVIDIA_REQUIRE_JETPACK: &str = "NVIDIA_REQUIRE_JETPACK";
pub const NVIDIA_DISABLE_REQUIRE: &str = "NVIDIA_DISABLE_REQUIRE";

pub const CUDA_VISIBLE: &str = "CUDA_VISIBLE_DEVICES";
pub const CUDA_ORDER: &str = "CUDA_DEVICE_ORDER";
/// NVIDIA's images of CUDA set their version here.
pub const CUDA_VERSION: &str = "CUDA_VERSION";

/// All variables of MPS begin so (NVIDIA, Multi-Process Service, "Environment variables").
pub const MPS_PREFIX: &str = "CUDA_MPS_";
/// The daemon's pipe directory.
pub const MPS_PIPE: &str = "CUDA_MPS_PIPE_DIRECTORY";
pub const MPS_LOG: &str = "CUDA_MPS_LOG_DIRECTORY";
/// The percentage of a device's multiprocessors that one client gets.
pub const MPS_THREADS: &str = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE";
/// The memory that one client may allocate, per device.
pub const MPS_MEMORY: &str = "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT";
pub const MPS_PRIORITY: &str = "CUDA_MPS_CLIENT_PRIORITY";
pub const MPS_CONTEXTS: &str = "CUDA_MPS_ENABLE_PER_CTX_DEVICE_MULTIPROCESSOR_PARTITIONING";
pub const MPS_PARTITION: &str = "CUDA_MPS_SM_PARTITION";

/// The devices that AMD's toolkit gives a container.
pub const AMD_VISIBLE: &str = "AMD_VISIBLE_DEVICES";
pub const HIP_VISIBLE: &str = "HIP_VISIBLE_DEVICES";
pub const ROCR_VISIBLE: &str = "ROCR_VISIBLE_DEVICES";
pub const GPU_ORDINAL: &str = "GPU_DEVICE_ORDINAL";
/// The compute units of each device, for ROCr (`core/util/flag.cpp`).
pub const CU_MASK: &str = "HSA_CU_MASK";
pub const CU_MASK_SKIP: &str = "HSA_CU_MASK_SKIP_INIT";
pub const CU_MASK_GLOBAL: &str = "ROC_GLOBAL_CU_MASK";

pub const LEVEL_ZERO_MASK: &str = "ZE_AFFINITY_MASK";

/// Docker gives generic resources by variables that begin so.
pub const DOCKER_RESOURCE_PREFIX: &str = "DOCKER_RESOURCE_";

/// Tells a container what enforces its limits.
pub const ENFORCEMENT: &str = "GPULEASE_ENFORCEMENT";
/// Tells a container that its devices are simulated.
pub const SIMULATED: &str = "GPULEASE_SIMULATED";

/// Names the configuration file.
pub const CONFIG: &str = "GPULEASE_CONFIG";
/// The number of descriptors that systemd passes on (sd_listen_fds(3)).
pub const LISTEN_FDS: &str = "LISTEN_FDS";
pub const PATH: &str = "PATH";
/// The `PATH` of programs that gpulease starts.
pub const CHILD_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
