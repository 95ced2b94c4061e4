//! `gpulease memory`: how much each device has, who has been granted it, and what is in use.

use super::devices::snapshot;
use super::node::Context;
use super::output::{Answer, Output, Paint};
use super::table::{self, left, right};
use super::users::{Users, nvidia_used};
use super::words;
use crate::claim::sweep::Swept;
use crate::failure::Failure;
use crate::model::device::{Device, Node, Vendor};
use crate::model::id::DeviceId;
use crate::model::quantity::Bytes;
use crate::paths::Paths;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;

/// `memory`.
pub(super) fn memory(context: &Context, output: &Output) -> Result<Answer, Failure> {
    let node = context.inventory()?.node;
    let swept = context.survey()?;
    let free = snapshot(&node, &swept, &Users::default(), context).free();
    let used = used(&node, &context.paths);
    let rows: Vec<Row<'_>> = node
        .devices
        .iter()
        .zip(free)
        .map(|(device, (_, free))| Row {
            device,
            leased: leased(device, &swept, &node, context),
            used: used.get(&device.uuid).copied(),
            // What a GPU in MIG mode has is its instances'.
            free: device.capacity().filter(|_| !device.is_in_mig_mode()).map(|_| free),
        })
        .collect();
    let json = Value::Array(rows.iter().map(Row::json).collect());
    let mut text = if rows.is_empty() {
        let hint = output.line(Paint::Cyan, "hint:", words::LIST_DEVICES);
        format!("no devices\n{hint}")
    } else {
        in_table(&rows, output)
    };
    text.push_str(&words::simulated_footer(&node.devices, output));
    Ok(Answer::new(text, json))
}

/// One device's memory; `None` is "nobody can say".
struct Row<'a> {
    device: &'a Device,
    leased: Option<Bytes>,
    used: Option<Bytes>,
    free: Option<Bytes>,
}

impl Row<'_> {
    fn json(&self) -> Value {
        let Device { uuid, index, model, memory_total_bytes, memory_reserved_bytes, .. } =
            self.device;
        json!({
            "uuid": uuid,
            "index": index,
            "mig_index": self.device.place().instance,
            "model": model,
            "total_bytes": memory_total_bytes,
            "reserved_bytes": memory_reserved_bytes,
            "leased_bytes": self.leased,
            "used_bytes": self.used,
            "free_to_lease_bytes": self.free,
            "simulated": self.device.simulated,
        })
    }
}

/// The sum of the leases on the device itself; those in their grace hold nothing.
fn leased(device: &Device, swept: &Swept, node: &Node, context: &Context) -> Option<Bytes> {
    let capacity = device.capacity()?;
    let holds = swept.holds(None, node, context.ground());
    let here = holds.iter().filter(|hold| hold.device == device.uuid && !hold.grace);
    let sum = here.map(|hold| hold.memory).fold(Bytes(0), Bytes::saturating_add);
    // An unreadable record holds all that there is.
    Some(sum.min(capacity))
}

/// What is in use now, by whomever. On devices that do not exist nothing is.
fn used(node: &Node, paths: &Paths) -> BTreeMap<DeviceId, Bytes> {
    let real = || node.devices.iter().filter(|device| !device.simulated);
    let mut used = BTreeMap::new();
    if real().any(|device| device.vendor == Vendor::Nvidia) {
        used = nvidia_used(paths);
    }
    for device in real().filter(|device| device.vendor == Vendor::Amd) {
        // The file counts for the whole GPU, whatever it is partitioned into.
        let same = real().filter(|other| other.pci == device.pci).count();
        let file = paths.sys.join("bus/pci/devices").join(device.pci.to_string());
        let text = fs::read_to_string(file.join("mem_info_vram_used")).ok().filter(|_| same == 1);
        if let Some(bytes) = text.and_then(|text| text.trim().parse().ok()) {
            used.insert(device.uuid.clone(), Bytes(bytes));
        }
    }
    used
}

fn in_table(rows: &[Row<'_>], output: &Output) -> String {
    let columns = [
        right("INDEX"),
        left("MODEL"),
        right("TOTAL"),
        right("RESERVED"),
        right("LEASED"),
        right("USED"),
        right("FREE TO LEASE"),
        left("STATE").rank(1),
    ];
    let rows = rows.iter().map(|row| {
        let device = row.device;
        vec![
            device.place().to_string(),
            words::model(device),
            words::memory_or_dash(device.memory_total_bytes),
            words::memory_or_dash(device.memory_reserved_bytes),
            words::memory_or_dash(row.leased),
            words::memory_or_dash(row.used),
            words::memory_or_dash(row.free),
            words::state(device),
        ]
    });
    table::render(&columns, &rows.collect::<Vec<_>>(), false, output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::static_file;

    #[test]
    fn what_is_in_use_of_amds_is_read_where_it_is_one_devices() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        let device = |uuid: &str, bus: u32| {
            format!(
                "[[device]]\nuuid = '{uuid}'\nvendor = 'amd'\nmodel = 'M'\nmemory_mib = 1024\n\
                 pci = '0000:0{bus}:00.0'\nnodes = ['/dev/dri/renderD{}']\n",
                128 + bus
            )
        };
        let text = device("GPU-1", 1) + &device("GPU-2", 2) + &device("GPU-3", 3);
        let mut node = static_file::parse(&text).unwrap();
        for bus in [1, 2] {
            let dir = paths.sys.join(format!("bus/pci/devices/0000:0{bus}:00.0"));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("mem_info_vram_used"), "1048576\n").unwrap();
        }
        let all = |node: &Node| {
            used(node, &paths).into_iter().map(|(id, b)| (id.to_string(), b.0)).collect::<Vec<_>>()
        };
        assert_eq!(all(&node), [("GPU-1".to_owned(), 1 << 20), ("GPU-2".to_owned(), 1 << 20)]);
        // Two partitions of one GPU.
        node.devices[1].pci = node.devices[0].pci;
        assert!(all(&node).is_empty());
    }
}
