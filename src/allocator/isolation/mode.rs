//! What the shares on a device rule out for the next one: the first share fixes how a device is
//! shared, an MPS server serves one user and so many clients, and a limit that MPS itself holds is
//! one for all of its clients (NVIDIA, "Multi-Process Service").

use super::super::snapshot::Hold;
use crate::model::isolation::Isolation;
use crate::model::lease::Sharing;
use crate::model::quantity::MilliGpu;

/// The shares that are on a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct SharesOnDevice {
    /// A bit for each [`Isolation`] among them.
    kinds: u8,
    /// Of one of them nobody can say how it is made true.
    unknown: bool,
    /// How many are by MPS, and
    clients: u32,
    /// for which users: the least and the greatest.
    users: Option<(u32, u32)>,
    /// The largest share by MPS.
    largest: MilliGpu,
    /// The least that MPS itself holds its clients to.
    pinned: Option<MilliGpu>,
}

/// Why a share cannot join those that are there. It may once they have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Conflict {
    /// The device is shared by `now`, and this would be by `asked`.
    Mode { now: Isolation, asked: Isolation },
    /// It cannot be read how the device is shared, and this would be by `asked`.
    Unknown { asked: Isolation },
    /// MPS serves this user, and the container's is another.
    User { served: u32, asks: Option<u32> },
    /// As many leases by MPS as the driver serves clients.
    Clients(u32),
    /// MPS holds all of its clients to this much.
    Pinned(MilliGpu),
    /// MPS is to hold all of its clients to what is asked for, and one of them has this.
    Larger(MilliGpu),
    /// So many groups of compute units are free, and this many are needed.
    Units { free: u32, wanted: u32 },
}

/// A share by MPS that wants to join.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    pub(super) share: MilliGpu,
    pub(super) pinned: bool,
    pub(super) user: Option<u32>,
    /// Whether the daemon is the device's, and serves all leases there.
    pub(super) common: bool,
    /// The most clients of the device.
    pub(super) most: u32,
}

/// Ways of sharing that go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Mps,
    Masks,
    /// Whoever comes takes his turn.
    Open,
}

const fn mode(isolation: Isolation) -> Mode {
    match isolation {
        Isolation::Mps => Mode::Mps,
        Isolation::CuMask => Mode::Masks,
        _ => Mode::Open,
    }
}

const fn bit(isolation: Isolation) -> u8 {
    1 << (isolation as u8)
}

impl SharesOnDevice {
    /// Of a record that cannot be read nobody knows how it shares: it may be all that there is.
    pub(in super::super) fn add(&mut self, hold: &Hold) {
        if hold.sharing != Sharing::Shared {
            return;
        }
        let Some(isolation) = hold.kind.isolation else {
            self.unknown = true;
            return;
        };
        self.kinds |= bit(isolation);
        if isolation != Isolation::Mps {
            return;
        }
        self.clients = self.clients.saturating_add(1);
        self.largest = self.largest.max(hold.milli);
        if let Some(uid) = hold.kind.uid {
            let (least, greatest) = self.users.unwrap_or((uid, uid));
            self.users = Some((least.min(uid), greatest.max(uid)));
        }
        if hold.kind.pinned {
            self.pinned = Some(self.pinned.map_or(hold.milli, |pinned| pinned.min(hold.milli)));
        }
    }

    /// The way in which the device is shared that does not go with this one.
    pub(super) fn against(&self, asked: Isolation) -> Option<Conflict> {
        let other = |now: &Isolation| self.kinds & bit(*now) != 0 && mode(*now) != mode(asked);
        // Limits that are one for all, and masks that do not overlap, have to know of each other.
        if self.unknown && mode(asked) != Mode::Open {
            return Some(Conflict::Unknown { asked });
        }
        if self.kinds == 0 {
            return None;
        }
        Isolation::ALL.into_iter().find(other).map(|now| Conflict::Mode { now, asked })
    }

    /// Why MPS on the device cannot take one more, if so.
    pub(super) fn refuses(&self, client: Client) -> Option<Conflict> {
        let stranger = |served: &u32| client.common && client.user != Some(*served);
        let users = self.users.map(|(least, greatest)| [least, greatest]);
        if let Some(served) = users.and_then(|users| users.into_iter().find(stranger)) {
            return Some(Conflict::User { served, asks: client.user });
        }
        if self.clients >= client.most {
            return Some(Conflict::Clients(self.clients));
        }
        if let Some(pinned) = self.pinned.filter(|pinned| *pinned < client.share) {
            return Some(Conflict::Pinned(pinned));
        }
        (client.pinned && self.largest > client.share).then_some(Conflict::Larger(self.largest))
    }
}
