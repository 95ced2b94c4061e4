//! Machines with AMD GPUs as `/sys` trees. The values are those that such machines show. The unit
//! tests of the library have this file, too.

#![allow(dead_code, reason = "shared by tests that each use a part")]

use super::fake_sys::Sys;
use std::fmt::Write as _;

pub const TOPOLOGY: &str = "class/kfd/kfd/topology";
/// What AMD's kernel package has as its version.
pub const VERSION: &str = "6.8.5";

/// What a kind of GPU says of itself.
#[derive(Clone, Copy)]
pub struct Kind {
    pub simds: u32,
    pub simds_per_unit: u32,
    pub gfx: u32,
    pub device_id: u32,
    pub xccs: u32,
    /// Shader arrays of all dies, one an engine.
    pub arrays: u32,
    pub clock: u32,
    pub class: &'static str,
    pub name: &'static str,
}

pub const MI210: Kind = Kind {
    simds: 416,
    simds_per_unit: 4,
    gfx: 90010,
    device_id: 29711,
    xccs: 1,
    arrays: 8,
    clock: 1700,
    class: "0x038000",
    name: "AMD Instinct MI210",
};
pub const MI250X: Kind =
    Kind { simds: 440, device_id: 29708, name: "AMD Instinct MI250X", ..MI210 };
pub const MI300X: Kind = Kind {
    simds: 1216,
    simds_per_unit: 4,
    gfx: 90402,
    device_id: 29857,
    xccs: 8,
    arrays: 32,
    clock: 2100,
    class: "0x120000",
    name: "AMD Instinct MI300X",
};
pub const MI300X_CPX: Kind = Kind { simds: 152, xccs: 1, arrays: 4, ..MI300X };
/// Strix Halo. Such parts have no name in sysfs.
pub const APU: Kind = Kind {
    simds: 80,
    simds_per_unit: 2,
    gfx: 110_501,
    device_id: 5510,
    xccs: 1,
    arrays: 2,
    clock: 2900,
    class: "0x038000",
    name: "",
};

pub const MI210_MEMORY: u64 = 68_702_699_520;
pub const MI300X_MEMORY: u64 = 206_141_652_992;
pub const MI300X_ID: u64 = 16_404_946_649_897_475_633;

/// One KFD node.
pub struct Gpu<'a> {
    pub kind: Kind,
    pub node: u32,
    pub minor: u32,
    pub location: u32,
    pub unique_id: u64,
    pub hive: u64,
    pub memory: u64,
    /// The nodes that it reaches by xGMI, with the weight.
    pub xgmi: &'a [(u32, u32)],
}

impl Sys {
    /// The topology's own files and this many processors.
    pub fn topology(&self, generation: u32, cpus: u32) {
        self.write(&format!("{TOPOLOGY}/generation_id"), &generation.to_string());
        self.write(
            &format!("{TOPOLOGY}/system_properties"),
            "platform_oem 35498446626881\nplatform_id 35322352389441\nplatform_rev 2",
        );
        self.write("module/amdgpu/version", VERSION);
        for node in 0..cpus {
            let dir = format!("{TOPOLOGY}/nodes/{node}");
            self.write(&format!("{dir}/gpu_id"), "0");
            self.write(
                &format!("{dir}/properties"),
                "cpu_cores_count 96\nsimd_count 0\nmem_banks_count 1\nio_links_count 1\ngfx_target_version 0\nvendor_id 0\ndrm_render_minor 0\nunique_id 0",
            );
            // Always there, and ROCm's library ends the process if they are not.
            self.directory(&format!("{dir}/io_links"));
            self.directory(&format!("{dir}/p2p_links"));
            self.write(
                &format!("{dir}/mem_banks/0/properties"),
                "heap_type 0\nsize_in_bytes 1081980682240\nflags 0\nwidth 0\nmem_clk_max 0",
            );
        }
    }

    pub fn node(&self, gpu: &Gpu<'_>) {
        let dir = format!("{TOPOLOGY}/nodes/{}", gpu.node);
        self.write(&format!("{dir}/gpu_id"), &gpu_id(gpu.node).to_string());
        self.write(&format!("{dir}/name"), "ip discovery");
        let Kind { simds, simds_per_unit, gfx, device_id, xccs, arrays, clock, .. } = gpu.kind;
        self.write(
            &format!("{dir}/properties"),
            &format!(
                "cpu_cores_count 0\nsimd_count {simds}\nmem_banks_count 1\ncaches_count 80\n\
                 io_links_count {}\np2p_links_count 1\ncpu_core_id_base 0\nsimd_id_base 2147487744\n\
                 max_waves_per_simd 8\nlds_size_in_kb 64\ngds_size_in_kb 0\nnum_gws 64\n\
                 wave_front_size 64\narray_count {arrays}\nsimd_arrays_per_engine 1\ncu_per_simd_array 10\n\
                 simd_per_cu {simds_per_unit}\nmax_slots_scratch_cu 32\ngfx_target_version {gfx}\n\
                 vendor_id 4098\ndevice_id {device_id}\nlocation_id {}\ndomain 0\n\
                 drm_render_minor {}\nhive_id {}\nnum_sdma_engines 2\nnum_sdma_xgmi_engines 0\n\
                 num_sdma_queues_per_engine 8\nnum_cp_queues 24\nmax_engine_clk_fcompute {clock}\n\
                 local_mem_size 0\nfw_version 166\ncapability 746758784\nsdma_fw_version 22\n\
                 unique_id {}\nnum_xcc {xccs}\nmax_engine_clk_ccompute 2400",
                gpu.xgmi.len() + 1,
                gpu.location,
                gpu.minor,
                gpu.hive,
                gpu.unique_id,
            ),
        );
        self.directory(&format!("{dir}/p2p_links"));
        let bank = format!("{dir}/mem_banks/0");
        self.write(
            &format!("{bank}/properties"),
            &format!(
                "heap_type 1\nsize_in_bytes {}\nflags 0\nwidth 8192\nmem_clk_max 1300",
                gpu.memory
            ),
        );
        self.write(&format!("{bank}/used_memory"), "297611264");
        self.io_link(gpu.node, 0, 2, 0, 20);
        for (position, (to, weight)) in gpu.xgmi.iter().enumerate() {
            self.io_link(gpu.node, u32::try_from(position).unwrap() + 1, 11, *to, *weight);
        }
    }

    fn io_link(&self, from: u32, position: u32, kind: u32, to: u32, weight: u32) {
        let mut text = format!("type {kind}\nversion_major 0\nversion_minor 0\nnode_from {from}\n");
        let _ = write!(text, "node_to {to}\nweight {weight}\nmin_latency 0\nmax_latency 0\n");
        text += "min_bandwidth 0\nmax_bandwidth 64000\nrecommended_transfer_size 0\nflags 1";
        self.write(&format!("{TOPOLOGY}/nodes/{from}/io_links/{position}/properties"), &text);
    }

    /// The PCI device of a GPU, with the switch that is on its card: `root` is where that hangs,
    /// up to the root port. Gives its directory.
    pub fn card(&self, root: &str, bus: u32, kind: Kind, files: &[(&str, &str)]) -> String {
        let (bridge, rest) = (("class", "0x060400"), root.rsplit_once('/').unwrap());
        assert!(rest.0.starts_with("pci"), "{root}");
        self.pci(root, "0x1022", &[bridge]);
        let up = format!("{root}/0000:{:02x}:00.0", bus - 2);
        let down = format!("{up}/0000:{:02x}:00.0", bus - 1);
        self.pci(&up, "0x1002", &[bridge]);
        self.pci(&down, "0x1002", &[bridge]);
        self.on_bus(&down, bus, kind, files)
    }

    /// The PCI device of a GPU on its own.
    pub fn on_bus(&self, above: &str, bus: u32, kind: Kind, files: &[(&str, &str)]) -> String {
        let device = format!("0x{:04x}", kind.device_id);
        let own = [("class", kind.class), ("device", &device), ("product_name", kind.name)];
        let directory = self.pci(&format!("{above}/0000:{bus:02x}:00.0"), "0x1002", &own);
        for (name, text) in files {
            self.write(&format!("{directory}/{name}"), text);
        }
        self.driver(&directory, "amdgpu");
        directory
    }
}

pub const fn gpu_id(node: u32) -> u32 {
    24_246 + node
}

/// Eight MI210 in two hives of four: buses, nodes 2 to 9, minors 128 to 135.
pub const MI210_BUSES: [u32; 8] = [0x03, 0x06, 0x43, 0x46, 0x83, 0x86, 0xc3, 0xc6];

pub fn mi210x8() -> Sys {
    let sys = Sys::new();
    sys.topology(2, 2);
    for (position, bus) in (0_u32..).zip(MI210_BUSES) {
        let node = position + 2;
        let first = if position < 4 { 2 } else { 6 };
        let xgmi: Vec<_> = (first..first + 4).filter(|n| *n != node).map(|n| (n, 15)).collect();
        let unique_id = 10_645_161_697_164_847_644 + u64::from(position);
        let hive = 9_386_504_101_284_093_184 + u64::from(first);
        let minor = 128 + position;
        let location = bus << 8;
        let memory = MI210_MEMORY;
        let gpu = Gpu { kind: MI210, node, minor, location, unique_id, hive, memory, xgmi: &xgmi };
        sys.node(&gpu);
        let root = format!("pci0000:{:02x}/0000:{:02x}:0{}.1", bus & 0xf0, bus & 0xf0, bus & 0xf);
        let id = format!("{unique_id:016x}");
        let total = memory.to_string();
        let numa = if position < 4 { "0" } else { "1" };
        let files = [
            ("mem_info_vram_total", &*total),
            ("mem_info_vram_used", "10854400"),
            ("numa_node", numa),
            ("unique_id", &id),
        ];
        let directory = sys.card(&root, bus, MI210, &files);
        sys.drm(&directory, position + 1, minor);
        let counts = format!("{directory}/ras");
        sys.write(&format!("{counts}/umc_err_count"), "ue: 0\nce: 3");
        sys.write(&format!("{counts}/gfx_err_count"), "ue: 0\nce: 0");
        sys.write(&format!("{counts}/features"), "feature mask: 0x5fff");
    }
    sys
}

/// Two MI250X, of two GCDs each, which are GPUs of their own: the four in a ring.
pub fn mi250x() -> Sys {
    let sys = Sys::new();
    sys.topology(6, 4);
    for (position, bus) in (0_u32..).zip([0xc1, 0xc9, 0xd1, 0xd9]) {
        let node = position + 4;
        // 0-1 and 2-3 are a package; 0-2 and 1-3 are cables.
        let xgmi = [(4 + (position ^ 1), 15), (4 + (position ^ 2), 15)];
        let unique_id = 0x1a_2b3c_4d5e_6f00 + u64::from(position);
        let minor = 128 + position;
        let location = bus << 8;
        let memory = MI210_MEMORY;
        let gpu =
            Gpu { kind: MI250X, node, minor, location, unique_id, hive: 5, memory, xgmi: &xgmi };
        sys.node(&gpu);
        // All below one switch of the board's.
        let port = "pci0000:c0/0000:c0:01.1";
        let switch = format!("{port}/0000:ba:00.0");
        let down = format!("{switch}/0000:bb:0{position}.0");
        sys.pci(port, "0x1022", &[]);
        sys.pci(&switch, "0x1000", &[]);
        sys.pci(&down, "0x1000", &[]);
        let total = memory.to_string();
        let files = [("mem_info_vram_total", &*total), ("numa_node", "3")];
        let directory = sys.on_bus(&down, bus, MI250X, &files);
        sys.drm(&directory, position, minor);
    }
    sys
}

/// The buses of a machine with MI300X.
pub const MI300X_BUSES: [u32; 8] = [0x05, 0x27, 0x47, 0x65, 0x85, 0xa7, 0xc7, 0xe5];

pub fn mi300x_id(position: u32) -> u64 {
    // The second one's has a zero in front.
    if position == 1 { 598_046_273_873_802_902 } else { MI300X_ID + u64::from(position) }
}

fn mi300x_card(sys: &Sys, position: u32, bus: u32, modes: [&str; 2]) -> String {
    let root = format!("pci0000:{:02x}/0000:{:02x}:01.1", bus & 0xf0, bus & 0xf0);
    let total = MI300X_MEMORY.to_string();
    let id = format!("{:016x}", mi300x_id(position));
    let files = [
        ("mem_info_vram_total", &*total),
        ("mem_info_vram_used", "297611264"),
        ("unique_id", &id),
        ("current_compute_partition", modes[0]),
        ("current_memory_partition", modes[1]),
        ("available_compute_partition", "SPX, DPX, QPX, CPX"),
        ("numa_node", if position < 4 { "0" } else { "1" }),
    ];
    sys.card(&root, bus, MI300X, &files)
}

/// Eight MI300X, whole. Their minors step by eight as those of partitions would.
pub fn mi300x_spx() -> Sys {
    let sys = Sys::new();
    sys.topology(10, 2);
    for (position, bus) in (0_u32..).zip(MI300X_BUSES) {
        let node = position + 2;
        let xgmi: Vec<_> = (2..10).filter(|n| *n != node).map(|n| (n, 15)).collect();
        let minor = 128 + 8 * position;
        sys.node(&Gpu {
            kind: MI300X,
            node,
            minor,
            location: bus << 8,
            unique_id: mi300x_id(position),
            hive: 15_188_982_192_727_901_047,
            memory: MI300X_MEMORY,
            xgmi: &xgmi,
        });
        let directory = mi300x_card(&sys, position, bus, ["SPX", "NPS1"]);
        sys.drm(&directory, 1 + 8 * position, minor);
    }
    sys
}

/// MI300X in CPX mode: eight partitions a GPU, the first of which is the PCI device, and the others
/// platform devices.
pub fn mi300x_cpx(gpus: u32) -> Sys {
    let sys = Sys::new();
    sys.topology(80, 2);
    let last = 2 + 8 * gpus;
    for (position, bus) in (0..gpus).zip(MI300X_BUSES) {
        let directory = mi300x_card(&sys, position, bus, ["CPX", "NPS4"]);
        for partition in 0..8 {
            let number = 8 * position + partition;
            let node = 2 + number;
            let own = 2 + 8 * position..10 + 8 * position;
            let weight = |n: &u32| if own.contains(n) { 13 } else { 41 };
            let xgmi: Vec<_> = (2..last).filter(|n| *n != node).map(|n| (n, weight(&n))).collect();
            sys.node(&Gpu {
                kind: MI300X_CPX,
                node,
                minor: 128 + number,
                // As kernels have it: the partition's number where the function belongs.
                location: (bus << 8) | partition,
                unique_id: mi300x_id(position),
                hive: 15_188_982_192_727_901_047,
                memory: MI300X_MEMORY / 8,
                xgmi: &xgmi,
            });
            if partition == 0 {
                sys.drm(&directory, 1 + number, 128 + number);
            } else {
                let xcp = format!("devices/platform/amdgpu_xcp_{}", 7 * position + partition);
                sys.drm(&xcp, 1 + number, 128 + number);
            }
        }
    }
    // Made for a mode that is not on: it belongs to nothing.
    sys.drm("devices/platform/amdgpu_xcp_60", 61, 191);
    sys
}

/// An APU: the firmware has set aside half a gigabyte, and KFD counts all that it can use.
pub const APU_MEMORY: u64 = 120_259_084_288;

pub fn apu() -> Sys {
    let sys = Sys::new();
    sys.topology(3, 1);
    sys.remove("module/amdgpu/version");
    sys.node(&Gpu {
        kind: APU,
        node: 1,
        minor: 128,
        location: 0xc600,
        unique_id: 0,
        hive: 0,
        memory: APU_MEMORY,
        xgmi: &[],
    });
    let files = [("mem_info_vram_total", "536870912"), ("unique_id", ""), ("numa_node", "-1")];
    sys.pci("pci0000:00/0000:00:08.1", "0x1022", &[]);
    let directory = sys.on_bus("pci0000:00/0000:00:08.1", 0xc6, APU, &files);
    sys.drm(&directory, 0, 128);
    sys
}

/// Two MI210 without a link of their own at one host bridge; a third without a driver, one that a
/// virtual machine has, and one that KFD does not know.
pub fn with_unbound() -> Sys {
    let sys = Sys::new();
    sys.topology(4, 1);
    let total = MI210_MEMORY.to_string();
    let files = [("mem_info_vram_total", &*total)];
    for (position, bus) in (0_u32..).zip([0x03, 0x06, 0x09, 0x0c, 0x0f]) {
        let root = format!("pci0000:00/0000:00:0{}.1", position + 1);
        let directory = sys.card(&root, bus, MI210, &files);
        match position {
            2 => sys.remove(&format!("{directory}/driver")),
            3 => sys.driver(&directory, "vfio-pci"),
            _ => sys.drm(&directory, position + 1, 128 + position),
        }
        if position < 2 {
            sys.node(&Gpu {
                kind: MI210,
                node: 1 + position,
                minor: 128 + position,
                location: bus << 8,
                unique_id: 0x77_0000 + u64::from(position),
                hive: 0,
                memory: MI210_MEMORY,
                xgmi: &[],
            });
        }
    }
    sys
}
