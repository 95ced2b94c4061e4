//! Decides which shares can join the shares on a device. The first share fixes how the device is
//! shared. An MPS server serves one user and a limited number of clients. A limit that MPS itself
//! enforces is the same for all of its clients (NVIDIA, "Multi-Process Service").

use super::super::snapshot::Hold;
use crate::model::isolation::Isolation;
use crate::model::lease::Sharing;
use crate::model::quantity::MilliGpu;

/// The shares that are on a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct SharesOnDevice {
    /// A bit for each [`Isolation`] among them.
    kinds: u8,
    /// The isolation of at least one of them is unknown.
    unknown: bool,
    /// The number of shares by MPS.
    clients: u32,
    /// The least and the greatest uid of the users that MPS serves.
    users: Option<(u32, u32)>,
    /// The largest share by MPS.
    largest: MilliGpu,
    /// The least limit that MPS itself enforces on its clients.
    pinned: Option<MilliGpu>,
}

/// Why a share cannot join those on the device. Once they have ended, it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Conflict {
    /// The device is shared by `now`, and this share needs `asked`.
    Mode { now: Isolation, asked: Isolation },
    /// The way in which the device is shared is unknown, and this share needs `asked`.
    Unknown { asked: Isolation },
    /// MPS serves the user `served`, and the container's user is another.
    User { served: u32, asks: Option<u32> },
    /// MPS has as many leases on the device as it serves clients.
    Clients(u32),
    /// MPS limits all of its clients to this share.
    Pinned(MilliGpu),
    /// MPS would limit all of its clients to the requested share, and one of them has this larger
    /// one.
    Larger(MilliGpu),
    /// `free` groups of compute units are free, and the share needs `wanted`.
    Units { free: u32, wanted: u32 },
}

/// A share by MPS that is to join.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    pub(super) share: MilliGpu,
    pub(super) pinned: bool,
    pub(super) user: Option<u32>,
    /// Whether the daemon serves all leases of the device, not this one alone.
    pub(super) common: bool,
    /// The most clients that MPS serves on the device.
    pub(super) most: u32,
}

/// Isolations of the same mode can be on one device together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Mps,
    Masks,
    /// The driver gives each process time slices.
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
    /// A record that cannot be read may be the only one on the device, and its isolation is
    /// unknown.
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

    /// The isolation on the device that rules this one out.
    pub(super) fn against(&self, asked: Isolation) -> Option<Conflict> {
        let other = |now: &Isolation| self.kinds & bit(*now) != 0 && mode(*now) != mode(asked);
        // MPS limits and masks depend on all shares of the device, so an unknown share rules them
        // out.
        if self.unknown && mode(asked) != Mode::Open {
            return Some(Conflict::Unknown { asked });
        }
        if self.kinds == 0 {
            return None;
        }
        Isolation::ALL.into_iter().find(other).map(|now| Conflict::Mode { now, asked })
    }

    /// Why MPS on the device cannot take one more client, if it cannot.
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
