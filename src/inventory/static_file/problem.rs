//! Everything that can be wrong with a devices file.

use crate::model::device::{PciAddress, Vendor};
use crate::model::id::DeviceId;
use crate::model::mig::{CI_MAX, GI_MAX, MigProfile, SLICES_MAX};
use crate::model::quantity::Bytes;
use thiserror::Error;

/// The most devices that a node may have.
pub const DEVICES_MAX: usize = 256;

/// The most memory that one device may have, in MiB: 16 TiB, so that sums stay far from overflow.
pub const MEMORY_MIB_MAX: u64 = 16 << 20;

/// The largest major number: `dev_t` has 12 bits for it (`MINORBITS`, linux/kdev_t.h).
pub const MAJOR_MAX: u32 = (1 << 12) - 1;

/// The largest minor number: `dev_t` has 20 bits for it.
pub const MINOR_MAX: u32 = (1 << 20) - 1;

/// The longest path of a device node.
pub const NODE_PATH_MAX: usize = 128;

/// The longest name of a model, in characters.
pub const MODEL_MAX: usize = 64;

/// The most compute units, dies and shader engines: [`crate::model::cu_set::CuSet`] has
/// numbers up to 4095.
pub const UNITS_MAX: u32 = 4096;

/// What is wrong with a devices file, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct StaticFileError {
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    pub problem: Problem,
}

/// What is wrong with a devices file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// Not TOML, an unknown or missing key, a value of a wrong type.
    #[error("{0}")]
    Text(String),
    #[error("there are {0} devices, at most {DEVICES_MAX} are allowed")]
    TooManyDevices(usize),
    /// A UUID that could be taken for another kind of selector, or for an instance.
    #[error(
        "the device UUID `{0}` does not begin with `GPU-` (a MIG instance, `MIG-…`, is listed by a \
         `[[device.mig]]` of its GPU)"
    )]
    UuidPrefix(DeviceId),
    /// A UUID of an instance that could be taken for another kind of selector, or for a GPU.
    #[error("the UUID `{0}` of a MIG instance does not begin with `MIG-`")]
    InstancePrefix(DeviceId),
    /// Two devices have one UUID; case does not tell them apart.
    #[error("the device UUID `{0}` is given twice")]
    DuplicateUuid(DeviceId),
    /// Two devices have one PCI address.
    #[error("the PCI address `{pci}` is given twice: device `{other}` has it as well")]
    DuplicatePci {
        pci: PciAddress,
        /// Who has it already.
        other: DeviceId,
    },
    /// Two devices have one place in the KFD topology.
    #[error("the KFD node {kfd_node} is given twice: device `{other}` has it as well")]
    DuplicateKfdNode {
        kfd_node: u32,
        /// Who has it already.
        other: DeviceId,
    },
    /// A model name that is empty, too long or not printable.
    #[error("the model `{0}` is not a name of 1 to {MODEL_MAX} printable characters")]
    Model(String),
    /// A name of an architecture that is none of its vendor's.
    #[error(
        "the `arch` `{0}` is neither a compute capability of NVIDIA's, as `9.0`, nor a name of AMD's, as \
         `gfx942`, whichever the device is"
    )]
    Arch(String),
    /// No version of CUDA.
    #[error("the `cuda` `{0}` is not a version like `12.4`")]
    Cuda(String),
    /// None, or more than [`UNITS_MAX`].
    #[error("`{key}` is {number}, allowed are 1 to {UNITS_MAX}")]
    Units { key: &'static str, number: u32 },
    /// A device without memory.
    #[error("`memory_mib` of `{0}` is 0")]
    ZeroMemory(DeviceId),
    /// A device with more than [`MEMORY_MIB_MAX`].
    #[error("`memory_mib` is {0}, at most {MEMORY_MIB_MAX} is allowed")]
    TooMuchMemory(u64),
    /// The driver would keep everything.
    #[error("`reserved_mib` is {reserved}, which leaves nothing of `memory_mib` {total}")]
    AllReserved {
        /// The reserve in MiB.
        reserved: u64,
        /// The total in MiB.
        total: u64,
    },
    /// A device that no container could be given.
    #[error("device `{0}` has no `nodes`")]
    NoNodes(DeviceId),
    /// MIG on another vendor's device.
    #[error("the device `{uuid}` is made by {vendor} and has no MIG instances")]
    MigVendor { uuid: DeviceId, vendor: Vendor },
    /// An instance that shares a GPU instance with others.
    #[error(
        "the profile `{0}` is a part of a GPU instance whose memory its parts share; only \
         instances with memory of their own can be leased"
    )]
    SharedInstance(MigProfile),
    /// A GPU instance id that the driver does not have.
    #[error("`gi` is {0}, allowed are 0 to {GI_MAX}")]
    GpuInstance(u32),
    /// A compute instance id that the driver does not have.
    #[error("`ci` is {0}, allowed are 0 to {CI_MAX}")]
    ComputeInstance(u32),
    /// Two instances of a GPU with one id.
    #[error("the GPU instance {gi} of `{parent}` is given twice: `{other}` is it as well")]
    DuplicateInstance {
        gi: u32,
        parent: DeviceId,
        /// Who has it already.
        other: DeviceId,
    },
    /// More instances than a GPU has compute slices for.
    #[error(
        "with `{uuid}` the instances of `{parent}` have {slices} compute slices, and a GPU has at \
         most {SLICES_MAX}"
    )]
    TooManySlices {
        /// The instance that is too much.
        uuid: DeviceId,
        parent: DeviceId,
        slices: u32,
    },
    /// More instances than a GPU has memory for.
    #[error(
        "with `{uuid}` the instances of `{parent}` have {} MiB of memory, and it has {} MiB",
        sum.mib(), total.mib()
    )]
    TooMuchInstanceMemory {
        /// The instance that is too much.
        uuid: DeviceId,
        parent: DeviceId,
        /// What the instances have.
        sum: Bytes,
        /// What the GPU has.
        total: Bytes,
    },
    /// An instance that the driver would not admit anybody to.
    #[error(
        "the MIG instance `{uuid}` has {count} of its two `nodes` below `/dev/nvidia-caps/`, that \
         of its GPU instance and that of its compute instance"
    )]
    InstanceNodes { uuid: DeviceId, count: usize },
    /// A path that is not a plain one below `/dev`.
    #[error("the node path `{path}` {fault}")]
    NodePath {
        /// The path, safe to show.
        path: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// One path twice: whoever gets one device would get the other.
    #[error("the node `{path}` is given twice: for {other} and for {this}")]
    DuplicateNode {
        path: String,
        /// Who has it already.
        other: String,
        /// Who has it now.
        this: String,
    },
    /// Numbers for a node that exists.
    #[error(
        "the node `{path}` has numbers, but the file is not `simulated = true`: the numbers of \
         real nodes are read from the host when the container is created"
    )]
    NumbersInRealFile { path: String },
    /// No numbers for a node that does not exist.
    #[error(
        "the simulated node `{path}` has no numbers; write {{ path = \"{path}\", major = …, \
         minor = … }}"
    )]
    NumbersMissing { path: String },
    /// Numbers that `dev_t` cannot hold, or major 0.
    #[error(
        "the node `{path}` has the number {major}:{minor}; allowed are majors 1 to {MAJOR_MAX} \
         and minors 0 to {MINOR_MAX}"
    )]
    NumberOutOfRange { path: String, major: u32, minor: u32 },
    /// One number under two paths: a rule for the one would open the other.
    #[error("the nodes `{other}` and `{path}` have the same number {major}:{minor}")]
    DuplicateNumber {
        path: String,
        /// The path that has the number already.
        other: String,
        major: u32,
        minor: u32,
    },
    /// A link with fewer than two ends.
    #[error("a link needs at least two `devices`, here it has {0}")]
    LinkTooShort(usize),
    /// A link to a device that the file does not have.
    #[error("the link names the device `{0}`, which this file does not have")]
    LinkUnknown(DeviceId),
    /// A link of a MIG instance.
    #[error("the link names the MIG instance `{0}`; only GPUs have links")]
    LinkOfInstance(DeviceId),
    #[error("the link names the device `{0}` twice")]
    LinkToItself(DeviceId),
    /// Two links of one kind for one pair.
    #[error("the {kind} link between `{a}` and `{b}` is given twice")]
    DuplicateLink {
        a: DeviceId,
        b: DeviceId,
        /// The kind, as the file spells it.
        kind: &'static str,
    },
    /// A vendor's link at another vendor's device.
    #[error("the device `{uuid}` is made by {vendor} and has no {kind} links")]
    LinkVendor {
        uuid: DeviceId,
        vendor: Vendor,
        /// The kind, as the file spells it.
        kind: &'static str,
    },
    /// A link of nothing.
    #[error("`lanes` is {0}, allowed are 1 to 255")]
    Lanes(u32),
}
