//! Builds a request from words: reads every value, fills in defaults and refuses contradictions.
//! Only then it refuses a value that this version does not support.

use super::Policy;
use super::env::ListedDevices;
use super::error::RequestError;
use super::keys::KeyId;
use super::raw::{Dialect, MAX_ITEMS, RequestWord};
use super::types::{Amount, Count, MigChoice, Request, RequestSource, Selector};
use super::values::{self, Reason};
use crate::model::code::Code;
use crate::model::isolation::Isolation;
use crate::model::lease::Sharing;
use crate::model::mig::MigProfile;
use crate::model::quantity::{Bytes, MilliGpu};

/// A value and the word that it was read from.
struct Stated<'w, 'a, T> {
    value: T,
    word: &'w RequestWord<'a>,
}

struct Builder<'w, 'a> {
    words: &'w [RequestWord<'a>],
    /// The first value that is valid but not supported. It is reported only if everything else is
    /// right, because a wrong request stays wrong in later versions.
    not_yet: Option<RequestError>,
}

/// Builds a request from annotations or from our own variables. Fails on wrong values, then on
/// contradictions, then on values that are not supported yet.
pub fn from_words(
    words: &[RequestWord<'_>],
    source: RequestSource,
    policy: &Policy,
) -> Result<Request, RequestError> {
    let mut builder = Builder { words, not_yet: None };
    let mut request = Request::one(policy.strategy, source);
    builder.which(&mut request)?;
    builder.how_much(&mut request)?;
    builder.how(&mut request, policy)?;
    builder.not_yet.map_or(Ok(request), Err)
}

/// Builds a request for whole devices from a vendor's variable.
pub fn from_listed(listed: ListedDevices, policy: &Policy) -> Request {
    let mut request = Request::one(policy.strategy, RequestSource::Environment);
    request.vendor = Some(listed.vendor);
    // For NVIDIA's toolkit, `all` means every GPU that is not in MIG mode, and every instance.
    request.mig = MigChoice::Either;
    match listed.devices {
        None => request.count = Count::All,
        Some(devices) => {
            request.count = Count::Exactly(number(&devices));
            request.devices = devices;
        }
    }
    request
}

fn number(devices: &[Selector]) -> u32 {
    // Lists are bounded by `MAX_ITEMS`.
    u32::try_from(devices.len()).unwrap_or(u32::MAX)
}

impl<'w, 'a> Builder<'w, 'a> {
    /// The value of `id`, if a word gives one. Two spellings of a key must have the same value.
    fn read<T: PartialEq>(
        &self,
        id: KeyId,
        parse: impl Fn(&RequestWord<'a>) -> Result<T, RequestError>,
    ) -> Result<Option<Stated<'w, 'a, T>>, RequestError> {
        let mut said: Option<Stated<'w, 'a, T>> = None;
        for word in self.words.iter().filter(|word| word.key.id == id) {
            let value = parse(word)?;
            match &said {
                None => said = Some(Stated { value, word }),
                Some(first) if first.value == value => {}
                Some(first) => {
                    return Err(RequestError::differ(first.word, word));
                }
            }
        }
        Ok(said)
    }

    /// [`Self::read`] for a value that is not a list.
    fn one<T: PartialEq>(
        &self,
        id: KeyId,
        parse: impl Fn(&str, Dialect) -> Result<T, Reason>,
    ) -> Result<Option<Stated<'w, 'a, T>>, RequestError> {
        self.read(id, |word| {
            parse(word.value, word.dialect).map_err(|r| wrong(word, word.value, r))
        })
    }

    /// [`Self::one`] for a key that has the same values in every dialect; returns the value alone.
    fn plain<T: PartialEq>(
        &self,
        id: KeyId,
        parse: impl Fn(&str) -> Result<T, Reason>,
    ) -> Result<Option<T>, RequestError> {
        Ok(self.one(id, |text, _| parse(text))?.map(|said| said.value))
    }

    /// Records a value that the table of keys marks as not supported.
    fn check_support(&mut self, word: &RequestWord<'_>, canonical: &str) {
        if !word.key.support.admits(canonical) {
            self.not_yet(word);
        }
    }

    fn not_yet(&mut self, word: &RequestWord<'_>) {
        self.not_yet.get_or_insert_with(|| RequestError::not_yet(word));
    }

    /// [`Self::plain`] for a key that has unsupported values; records such a value.
    fn known<T: PartialEq>(
        &mut self,
        id: KeyId,
        parse: impl Fn(&str) -> Result<Option<T>, Reason>,
    ) -> Result<Option<T>, RequestError> {
        let Some(said) = self.one(id, |text, _| parse(text))? else { return Ok(None) };
        if said.value.is_none() {
            self.not_yet(said.word);
        }
        Ok(said.value)
    }

    fn which(&mut self, request: &mut Request) -> Result<(), RequestError> {
        let count = self.one(KeyId::Count, |text, _| values::count(text))?;
        let devices = self.read(KeyId::Devices, |word| {
            let parse = |item: &str| values::selector(item).ok_or("which names no device");
            list(word, parse, values::same_device)
        })?;
        request.vendor = self.plain(KeyId::Vendor, values::vendor)?;
        request.model = self.plain(KeyId::Model, values::model)?;
        request.min_memory = self.one(KeyId::MinMemory, values::memory)?.map(|said| said.value);
        if let (Some(count), Some(devices)) = (&count, &devices)
            // In a request for instances, a listed GPU stands for all of its instances.
            && !self.asks_for_instances()
            && let Count::Exactly(wanted) = count.value
            && wanted > number(&devices.value)
        {
            let (key, listed) = (devices.word.shown_key(), devices.value.len());
            let message = format!("{}, but `{key}` lists {listed}", count.word.said());
            return Err(RequestError::new(message));
        }
        request.devices = devices.map(|said| said.value).unwrap_or_default();
        request.count = match count {
            Some(said) => said.value,
            None if request.devices.is_empty() => Count::Exactly(1),
            None => Count::Exactly(number(&request.devices)),
        };
        Ok(())
    }

    /// Reads how much of each device is requested.
    fn how_much(&mut self, request: &mut Request) -> Result<(), RequestError> {
        let compute = self.one(KeyId::Compute, values::compute)?;
        let memory = self.one(KeyId::Memory, values::memory)?;
        let sharing = self.one(KeyId::Sharing, values::sharing)?;
        // The compute of a whole device is a share only if a memory amount or `sharing` makes it
        // one.
        let part = compute.as_ref().filter(|said| said.value < MilliGpu::WHOLE);
        let share = part.map(|said| said.word).or(memory.as_ref().map(|said| said.word));
        request.sharing = match (&sharing, share) {
            (None, None) => Sharing::Exclusive,
            (None, Some(_)) => Sharing::Shared,
            (Some(said), Some(share)) if said.value == Sharing::Exclusive => {
                let (sharing, part) = (said.word.shown_key(), share.shown_key());
                let message = format!(
                    "{} (the whole device), but {} (a share)",
                    said.word.said(),
                    share.said()
                );
                return Err(RequestError::new(message).hint(format!(
                    "leave out `{sharing}` for a share or `{part}` for a whole device"
                )));
            }
            (Some(said), None) if said.value == Sharing::Shared && compute.is_none() => {
                let said = said.word.said();
                let message = format!("{said}, but no share of compute or memory is given");
                return Err(RequestError::new(message)
                    .hint("give the share by `gpulease/compute` or `gpulease/memory`"));
            }
            (Some(said), _) => said.value,
        };
        request.amount = match request.sharing {
            Sharing::Exclusive => Amount::Whole,
            Sharing::Shared => Amount::Share {
                compute: compute.map(|said| said.value),
                memory: memory.map(|said: Stated<'_, '_, Bytes>| said.value),
            },
        };
        Ok(())
    }

    /// Reads how devices are chosen, how a share is enforced, and the rest.
    fn how(&mut self, request: &mut Request, policy: &Policy) -> Result<(), RequestError> {
        self.isolation(request)?;
        if let Some(enforcement) = self.plain(KeyId::Enforcement, values::enforcement)? {
            request.enforcement = enforcement;
        }
        if let Some(strategy) = self.known(KeyId::Strategy, values::strategy)? {
            request.strategy = strategy;
        }
        if let Some(topology) = self.known(KeyId::Topology, values::topology)? {
            request.topology = topology;
        }
        if let Some(priority) = self.plain(KeyId::Priority, values::priority)? {
            request.priority = priority;
        }
        self.times(policy)?;
        request.workload = self.plain(KeyId::Workload, values::workload)?.map(str::to_owned);
        let capabilities = self.read(KeyId::Capabilities, |word| {
            if word.value.trim() == values::NO_CAPABILITIES {
                return Ok(Vec::new());
            }
            list(word, values::capability, |one, other| one == other)
        })?;
        request.capabilities = capabilities.map(|said| said.value);
        if let Some(said) = self.one(KeyId::Lease, |text, _| values::token(text))? {
            self.check_support(said.word, said.word.value);
        }
        Ok(())
    }

    /// Whether any word requests MIG instances, even a wrong or contradicted one.
    fn asks_for_instances(&self) -> bool {
        let mig = Isolation::Mig.as_str();
        let asks = |word: &RequestWord<'_>| {
            word.key.id == KeyId::MigProfile
                || (word.key.id == KeyId::Isolation && word.value == mig)
        };
        self.words.iter().any(asks)
    }

    /// Reads the isolation. It also decides between GPUs and MIG instances.
    fn isolation(&self, request: &mut Request) -> Result<(), RequestError> {
        let isolation = self.one(KeyId::Isolation, values::isolation)?;
        let profile = self.one(KeyId::MigProfile, |text, _| MigProfile::new(text))?;
        request.isolation = isolation.as_ref().map_or(Isolation::Auto, |said| said.value);
        let other =
            |said: &&Stated<'_, '_, _>| !matches!(said.value, Isolation::Mig | Isolation::Auto);
        if let (Some(profile), Some(other)) = (&profile, isolation.as_ref().filter(other)) {
            return Err(RequestError::differ(profile.word, other.word));
        }
        let by_isolation = isolation.filter(|said| said.value == Isolation::Mig);
        let word = profile.as_ref().map(|said| said.word).or(by_isolation.map(|said| said.word));
        let Some(word) = word else {
            if !request.devices.is_empty() {
                request.mig = MigChoice::Either;
            }
            return Ok(());
        };
        request.isolation = Isolation::Mig;
        request.mig = MigChoice::Instances(profile.map(|said| said.value));
        match request.amount {
            Amount::Whole => Ok(()),
            Amount::Share { .. } => Err(self.share_of_instance(word)),
        }
    }

    /// The error names the word that makes the request one for a share.
    fn share_of_instance(&self, mig: &RequestWord<'_>) -> RequestError {
        let shares = [KeyId::Memory, KeyId::Sharing, KeyId::Compute];
        let find = |id: &KeyId| self.words.iter().find(|word| word.key.id == *id);
        let share = shares.iter().find_map(find).unwrap_or(mig);
        let message = format!(
            "{} (a MIG instance, which is leased whole), but {} (a share)",
            mig.said(),
            share.said()
        );
        RequestError::new(message).hint(format!(
            "leave out `{}`; `gpulease/mig-profile` or `gpulease/min-memory` choose the instance's \
             size",
            share.shown_key()
        ))
    }

    /// Reads how long to wait for devices and how long to keep them.
    fn times(&mut self, policy: &Policy) -> Result<(), RequestError> {
        if let Some(said) = self.one(KeyId::Wait, |text, _| values::duration(text))? {
            if said.value > policy.max_wait {
                let (said, max) = (said.word.said(), humantime::format_duration(policy.max_wait));
                let message = format!("{said}, but the configuration allows at most {max}");
                return Err(RequestError {
                    code: Code::PolicyDenied,
                    ..RequestError::new(message)
                });
            }
            self.check_support(said.word, if said.value.is_zero() { "0" } else { said.word.value });
        }
        let ttl = self.one(KeyId::Ttl, |text, _| match values::duration(text)? {
            time if time.is_zero() => Err("which is zero"),
            time => Ok(time),
        })?;
        if let Some(said) = ttl {
            self.check_support(said.word, said.word.value);
        }
        Ok(())
    }
}

fn wrong(word: &RequestWord<'_>, part: &str, reason: Reason) -> RequestError {
    RequestError::value(&word.shown_key(), &word.shown_part(part), reason, word.allowed())
}

/// Reads a comma-separated list. Spaces around the commas are allowed, empty items are not.
fn list<T>(
    word: &RequestWord<'_>,
    parse: impl Fn(&str) -> Result<T, Reason>,
    same: impl Fn(&T, &T) -> bool,
) -> Result<Vec<T>, RequestError> {
    let mut items: Vec<T> = Vec::new();
    for text in word.value.split(',').map(str::trim) {
        if items.len() == MAX_ITEMS {
            return Err(RequestError::too_many(&word.shown_key()));
        }
        let item = parse(text).map_err(|reason| wrong(word, text, reason))?;
        if items.iter().any(|earlier| same(earlier, &item)) {
            return Err(RequestError::duplicate(&word.shown_key(), &word.shown_part(text)));
        }
        items.push(item);
    }
    Ok(items)
}
