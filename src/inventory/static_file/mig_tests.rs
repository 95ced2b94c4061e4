//! GPUs in MIG mode in a devices file.

use super::*;

/// A GPU in MIG mode at bus `bus` with one instance for each triple of profile, `gi` and memory.
fn gpu(bus: u32, instances: &[(&str, u32, u64)]) -> String {
    let mut text = format!(
        "[[device]]\nuuid = \"GPU-{bus}\"\nvendor = \"nvidia\"\nmodel = \"M\"\nmemory_mib = 40960\n\
         pci = \"{bus}:0.0\"\nnodes = [\"/dev/nvidia{bus}\"]\n"
    );
    for (profile, gi, memory) in instances {
        let cap = 3 + 135 * bus + 9 * gi;
        let nodes = [cap, cap + 1].map(|minor| format!("\"/dev/nvidia-caps/nvidia-cap{minor}\""));
        text += &format!(
            "[[device.mig]]\nuuid = \"MIG-{bus}-{gi}\"\nprofile = \"{profile}\"\ngi = {gi}\n\
             memory_mib = {memory}\nnodes = [{}]\n",
            nodes.join(", ")
        );
    }
    text
}

const MIXED: &[(&str, u32, u64)] =
    &[("1g.5gb.me", 9, 4864), ("3g.20gb", 2, 20096), ("2g.10gb", 3, 9984)];

#[track_caller]
fn refused(text: &str, (line, column): (usize, usize), part: &str) {
    let error = parse(text).unwrap_err();
    let message = error.problem.to_string();
    assert!(message.contains(part), "no {part} in: {message}");
    assert_eq!((error.line, error.column), (line, column), "{message}");
}

#[test]
fn instances_follow_their_gpu_by_their_ids() {
    let node = parse(&(gpu(2, &[("1g.5gb", 7, 4864)]) + &gpu(1, MIXED))).unwrap();
    assert!(node.is_numbered());
    let seen: Vec<_> = node
        .devices
        .iter()
        .map(|device| (device.place().to_string(), device.uuid.as_str(), device.model.as_str()))
        .collect();
    let expected = [
        ("0", "GPU-1", "M"),
        ("0:0", "MIG-1-2", "M MIG 3g.20gb"),
        ("0:1", "MIG-1-3", "M MIG 2g.10gb"),
        ("0:2", "MIG-1-9", "M MIG 1g.5gb+me"),
        ("1", "GPU-2", "M"),
        ("1:0", "MIG-2-7", "M MIG 1g.5gb"),
    ];
    assert_eq!(seen, expected.map(|(place, uuid, model)| (place.to_owned(), uuid, model)));
    let (gpu, instance) = (&node.devices[0], &node.devices[1]);
    assert_eq!((gpu.mig.as_ref(), instance.pci), (Some(&Mig::Enabled), gpu.pci));
    assert_eq!(instance.capacity(), Some(Bytes::from_mib(20096)));
    let mig = instance.instance().unwrap();
    assert_eq!((mig.parent.as_str(), mig.gi, mig.ci, mig.index), ("GPU-1", 2, 0, 0));
    // The GPU's node is no instance's own, but each needs it.
    let paths = |device| node.nodes_of(device).map(|node| node.path.as_str()).collect::<Vec<_>>();
    assert_eq!(instance.nodes.len(), 2);
    assert_eq!(paths(gpu), ["/dev/nvidia1"]);
    let caps = ["/dev/nvidia-caps/nvidia-cap156", "/dev/nvidia-caps/nvidia-cap157"];
    assert_eq!(paths(instance), ["/dev/nvidia1", caps[0], caps[1]]);
}

#[test]
fn a_gpu_in_mig_mode_may_have_no_instances() {
    let node = parse(&(gpu(1, &[]) + "mig = []")).unwrap();
    assert!(node.devices.len() == 1 && node.devices[0].is_in_mig_mode());
    assert_eq!(parse(&gpu(1, &[])).unwrap().devices[0].mig, None);
}

#[test]
fn an_instance_is_as_healthy_as_its_gpu() {
    let healthy = |gpu: &str, instance: &str| {
        let text =
            self::gpu(1, &MIXED[..1]).replace("[[device.mig]]", &format!("{gpu}\n[[device.mig]]"));
        parse(&(text + instance)).unwrap().devices[1].healthy
    };
    assert_eq!(healthy("", ""), None);
    assert_eq!(healthy("healthy = true", ""), Some(true));
    assert_eq!(healthy("healthy = true", "healthy = false"), Some(false));
    assert_eq!(healthy("healthy = false", "healthy = true"), Some(false));
}

#[test]
fn wrong_instances_are_refused() {
    let one = gpu(1, &MIXED[..1]);
    let with = |from: &str, to: &str| {
        assert!(one.contains(from), "{from}");
        one.replacen(from, to, 1)
    };
    let caps = "\"/dev/nvidia-caps/nvidia-cap219\", \"/dev/nvidia-caps/nvidia-cap220\"";
    for (text, place, part) in [
        (
            with("MIG-1-9", "GPU-9"),
            (9, 8),
            "the UUID `GPU-9` of a MIG instance does not begin with",
        ),
        (with("MIG-1-9", "MIG-"), (9, 8), "does not begin with `MIG-`"),
        (with("GPU-1", "MIG-7"), (2, 8), "`MIG-7` does not begin with `GPU-` (a MIG instance"),
        (with("1g.5gb.me", "big"), (10, 11), "`big` is not a MIG profile like 1g.10gb"),
        (with("1g.5gb.me", "1c.3g.20gb"), (10, 11), "`1c.3g.20gb` is a part of a GPU instance"),
        (with("gi = 9", "gi = 15"), (11, 6), "`gi` is 15, allowed are 0 to 14"),
        (with("gi = 9", "gi = 9\nci = 8"), (12, 6), "`ci` is 8, allowed are 0 to 7"),
        (with("gi = 9", "gpu = 9"), (11, 1), "unknown field `gpu`"),
        (with("gi = 9\n", ""), (8, 1), "missing field `gi`"),
        (with("= 4864", "= 0"), (12, 14), "`memory_mib` of `MIG-1-9` is 0"),
        (with("= 4864", "= 40961"), (12, 14), "with `MIG-1-9` the instances of `GPU-1` have 40961"),
        (with(caps, "\"/dev/nvidia1\""), (13, 9), "`MIG-1-9` has 0 of its two `nodes`"),
        (with(caps, &caps[..32]), (13, 9), "has 1 of its two `nodes` below `/dev/nvidia-caps/`"),
        (
            with(caps, &format!("{caps}, \"/dev/nvidia1\"")),
            (13, 78),
            "`/dev/nvidia1` is given twice: for device `GPU-1` and for MIG instance `MIG-1-9`",
        ),
        (with("\"nvidia\"", "\"amd\""), (2, 8), "`GPU-1` is made by amd and has no MIG instances"),
    ] {
        refused(&text, place, part);
    }
}

#[test]
fn instances_fit_on_their_gpu() {
    let full = gpu(1, MIXED) + &gpu(2, &[("1g.5gb", 7, 4864)]);
    assert!(parse(&full).is_ok());
    let twice = full.replace("gi = 3", "gi = 2");
    refused(
        &twice,
        (23, 6),
        "the GPU instance 2 of `GPU-1` is given twice: `MIG-1-2` is it as well",
    );
    refused(&full.replace("MIG-1-3", "mig-1-2"), (21, 8), "does not begin with `MIG-`");
    refused(&full.replace("MIG-1-3", "MIG-1-2"), (21, 8), "`MIG-1-2` is given twice");
    refused(&full.replace("MIG-2-7", "MIG-1-2"), (34, 8), "`MIG-1-2` is given twice");
    let seven = |last: &str| {
        let mut all = vec![("1g.5gb", 7, 4864); 6];
        all.push((last, 7, 4864));
        let all = (7..).zip(all).map(|(gi, (profile, _, memory))| (profile, gi, memory));
        gpu(1, &all.collect::<Vec<_>>())
    };
    assert_eq!(parse(&seven("1g.5gb")).unwrap().devices.len(), 8);
    let too_many = "with `MIG-1-13` the instances of `GPU-1` have 8 compute slices, and a GPU has";
    refused(&seven("2g.10gb"), (46, 11), too_many);
    let memory = full.replace("9984", "16001");
    refused(
        &memory,
        (24, 14),
        "with `MIG-1-3` the instances of `GPU-1` have 40961 MiB of memory, and it",
    );
    // A capability belongs to one instance.
    let cap = full.replace("nvidia-cap336", "nvidia-cap156");
    refused(
        &cap,
        (38, 10),
        "given twice: for MIG instance `MIG-1-2` and for MIG instance `MIG-2-7`",
    );
}

#[test]
fn instances_have_no_links() {
    let link = "[[link]]\nkind = \"nvlink\"\ndevices = [\"GPU-1\", \"GPU-2\"]";
    let text = gpu(1, MIXED) + &gpu(2, &[]) + link;
    assert_eq!(parse(&text).unwrap().links.len(), 1);
    refused(
        &text.replace("\"GPU-1\", ", "\"MIG-1-2\", "),
        (35, 12),
        "names the MIG instance `MIG-1-2`",
    );
}

#[test]
fn instances_count_as_devices() {
    let many: String = (0..33)
        .map(|bus| {
            let all: Vec<_> = (7..14).map(|gi| ("1g.5gb", gi, 4864)).collect();
            gpu(bus, &all).replace(&format!("{bus}:0.0"), &format!("{bus:x}:0.0"))
        })
        .collect();
    let error = parse(&many).unwrap_err().problem;
    assert_eq!(error, "there are 264 devices, at most 256 are allowed");
}
