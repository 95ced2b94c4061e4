//! All cases of one kind of node: what is asked, where.

use crate::answers::{CONTAINER, OF_PODMAN, create_command, recorded};
use crate::hosts::{Call, DRIVERS, Kind, OTHERS, Setting, World};
use crate::ledgers::{self, Inventory, State, States};
use crate::specs::{self, Spec};
use std::fs;
use std::thread;
use std::time::Duration;

/// One question, by its numbers in the lists of kinds, of modes and of specs.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub kind: usize,
    pub mode: usize,
    pub spec: usize,
    pub state: State,
}

/// Every case that there could be.
pub fn product(specs: usize) -> impl Iterator<Item = Case> {
    (0..Kind::ALL.len()).flat_map(move |kind| of_kind(kind, specs))
}

fn of_kind(kind: usize, specs: usize) -> impl Iterator<Item = Case> {
    let modes = 0..DRIVERS.len() + OTHERS.len();
    let of_mode = move |mode| (0..specs).map(move |spec| (mode, spec));
    modes.flat_map(of_mode).flat_map(move |(mode, spec)| {
        State::ALL.into_iter().map(move |state| Case { kind, mode, spec, state })
    })
}

/// A host, and what can be asked there.
pub struct Round {
    world: World,
    number: usize,
    specs: Vec<Spec>,
    states: States,
    settings: Vec<(Setting, Inventory)>,
    call: Call,
}

impl Round {
    pub fn begin(kind: Kind) -> Self {
        let world = World::enter(kind);
        let number = Kind::ALL.iter().position(|known| *known == kind).unwrap();
        let bundle = world.host.bundle(CONTAINER, &[]);
        for image in ["rootfs", "debian", "alpine"] {
            fs::create_dir(bundle.join(image)).unwrap();
        }
        let specs = specs::all(&world.gpus);
        let states = States::of(&world);
        let modes = DRIVERS.iter().chain(OTHERS);
        let settings: Vec<Setting> = modes.map(|mode| world.setting(*mode)).collect();
        // A file that was only just written might not be whole.
        thread::sleep(Duration::from_millis(150));
        let settings = settings.into_iter().map(|setting| {
            let inventory = ledgers::prepare(&setting);
            (setting, inventory)
        });
        let settings = settings.collect();
        let call = Call { bundle, root: world.host.root(), spec: Vec::new(), ..Call::default() };
        Self { world, number, specs, states, settings, call }
    }

    pub fn cases(&self, is_chosen: impl Fn(Case) -> bool) -> Vec<Case> {
        of_kind(self.number, self.specs.len()).filter(|case| is_chosen(*case)).collect()
    }

    /// Makes everything as the case has it; `None` if there is no such state on this node.
    pub fn set(&mut self, case: Case) -> Option<(&Call, &Setting)> {
        let (setting, inventory) = &self.settings[case.mode];
        self.states.put(case.state, setting, inventory).then_some(())?;
        self.call.spec.clone_from(&self.specs[case.spec].1);
        self.call.earlier = None;
        self.call.name =
            format!("{} | {} | {:?}", setting.name, self.specs[case.spec].0, case.state);
        let config = self.call.bundle.join("config.json");
        fs::write(&config, &self.call.spec).unwrap();
        if case.state == State::Again {
            create_command(&self.call, setting).output().unwrap();
            self.call.spec = fs::read(&config).unwrap();
            self.call.earlier = recorded(CONTAINER, setting).map(|lease| lease.id);
        }
        Some((&self.call, setting))
    }

    /// The same question of a bundle of its own.
    pub fn set_apart(&mut self, case: Case) -> (Call, Setting) {
        self.set_at(case, &format!("apart-{}-{}", case.mode, case.spec)).unwrap()
    }

    /// The same question of a container of Podman's.
    pub fn set_for_podman(&mut self, case: Case) -> Option<(Call, Setting)> {
        self.set_at(case, &format!("../overlay-containers/{OF_PODMAN}/userdata"))
    }

    fn set_at(&mut self, case: Case, name: &str) -> Option<(Call, Setting)> {
        let bundle = self.world.host.bundle(name, &[]).canonicalize().unwrap();
        let (call, setting) = self.set(case)?;
        fs::write(bundle.join("config.json"), &call.spec).unwrap();
        Some((Call { bundle, ..call.clone() }, setting.clone()))
    }

    /// By the names of a setting and of a spec.
    pub fn case(&self, setting: &str, spec: &str, state: State) -> Case {
        let mode = self.settings.iter().position(|(known, _)| known.name == setting).unwrap();
        let spec = self.specs.iter().position(|(name, _)| name == spec).unwrap();
        Case { kind: self.number, mode, spec, state }
    }

    pub fn setting(&self, name: &str) -> &Setting {
        &self.settings.iter().find(|(setting, _)| setting.name == name).unwrap().0
    }
}
