//! What clients did wrong, and how often they come: one bounded memory that all services share.
//!
//! Limits count per address and per the two blocks around it, so that neither one address nor a rented network gets far,
//! and per account, so that a thousand addresses do not either. Whoever owns an account is not locked out by that:
//! from networks where the owner logged in lately, failures count against that account and network alone.
//!
//! Every count is a [`Bucket`] that drains at a steady rate, so no limit resets at an edge. The [`Table`] is of fixed
//! size; what would be forgotten first makes room. Time is handed in.

mod block;
mod bucket;
mod table;

use std::{
    cmp::Reverse,
    collections::{HashMap, hash_map},
    net::IpAddr,
    time::Duration,
};

use ipc_proto::{
    AccountId,
    authd::{Offence, PAGE, TurnedAway},
    control::AuthdSettings,
    logins::{AbuseInfo, Abuser},
};

pub use self::{
    block::{Block, Network, Size, blocks},
    bucket::{Bucket, Moment, Rate},
    table::{Counts, Key, Table},
};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Above so many points an address, its small and its large block are turned away. A bucket holds twice as many, and a
/// full one drains in [`POINTS_DRAIN`].
const POINTS: [u32; 3] = [30, 90, 270];
const POINTS_DRAIN: Duration = Duration::from_secs(3600);

/// Failures beyond so many make the reply wait, a second for each.
const PATIENCE: u32 = 3;
const MAX_WAIT: u32 = 15;

/// How much an offence weighs.
#[must_use]
pub const fn points(offence: Offence) -> u32 {
    match offence {
        Offence::Crash | Offence::Smuggling => 10,
        Offence::Bounds | Offence::Harvesting => 5,
    }
}

/// Whom a login is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// An account.
    Account {
        /// Which.
        account: AccountId,
        /// The client's network, where the owner logged in from it lately.
        known: Option<Network>,
    },
    /// A name that is nobody's, hashed. It has the same limits as an account: being limited tells nobody anything.
    Nobody(u64),
}

/// Not judged: too many failures came from there, or against that account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyFailures;

/// A login that is being judged. It counts as a failure until it is [settled](Limits::succeeded), so that many at once
/// are not judged by one count.
#[derive(Debug)]
pub struct Attempt {
    charged: Vec<(Key, FailureRates)>,
}

/// How many failures a minute and a day allow.
#[derive(Debug, Clone, Copy)]
struct FailureRates {
    minute: Rate,
    day: Rate,
}

/// The figures of one size of block.
#[derive(Debug, Clone, Copy)]
struct Class {
    connections: Rate,
    at_once: u32,
    failures: FailureRates,
    points: Rate,
    turned_away_above: u32,
}

/// All that is remembered about clients.
#[derive(Debug)]
pub struct Limits {
    classes: [Class; 3],
    /// Failures that an account stands from networks its owner did not use lately.
    account: FailureRates,
    /// Failures that an account stands from one network of its owner.
    pair: FailureRates,
    account_points: Rate,
    loopback_exempt: bool,
    table: Table,
    /// Connections that fronts hold now. Bounded by the bounds of their tables.
    open: HashMap<Block, u32>,
}

impl Limits {
    /// Nothing remembered.
    #[must_use]
    pub fn new(settings: &AuthdSettings) -> Self {
        let [address, small, large] = [0, 1, 2].map(|at| {
            let figure = |figures: &[u32; 3]| figures.get(at).copied().unwrap_or_default();
            Class {
                connections: Rate::new(figure(&settings.connection_rate), MINUTE),
                at_once: figure(&settings.connections),
                failures: FailureRates {
                    minute: Rate::new(figure(&settings.failure_rate), MINUTE),
                    day: Rate::new(figure(&settings.failure_day), DAY),
                },
                points: Rate::new(2 * figure(&POINTS), POINTS_DRAIN),
                turned_away_above: figure(&POINTS),
            }
        });
        Self {
            account: small.failures,
            // A phone with an old password must not lock out the desk beside it for a day.
            pair: FailureRates { minute: address.failures.minute, day: large.failures.day },
            account_points: small.points,
            classes: [address, small, large],
            loopback_exempt: settings.loopback_exempt,
            table: Table::new(Table::CAPACITY),
            open: HashMap::new(),
        }
    }

    /// From now on with these figures. What is remembered stays.
    pub fn change(&mut self, settings: &AuthdSettings) {
        let new = Self::new(settings);
        let table = std::mem::replace(&mut self.table, Table::new(0));
        let open = std::mem::take(&mut self.open);
        *self = Self { table, open, ..new };
    }

    fn exempt(&self, address: IpAddr) -> bool {
        self.loopback_exempt && address.to_canonical().is_loopback()
    }

    fn classes(&self, address: IpAddr) -> [(Block, Class); 3] {
        let [one, small, large] = blocks(address);
        let [of_one, of_small, of_large] = self.classes;
        [(one, of_one), (small, of_small), (large, of_large)]
    }

    /// May a client from there connect? `Ok`: it is counted until [`Self::closed`]. Who is turned away costs nothing:
    /// a limit is not made longer by knocking.
    /// `home`: the owner of an account logged in from its network lately, and may want to again: what others did there
    /// keeps nobody out.
    pub fn admit(&mut self, address: IpAddr, home: bool, now: Moment) -> Result<(), TurnedAway> {
        if self.exempt(address) {
            return Ok(());
        }
        let classes = self.classes(address);
        let counts = classes.map(|(block, class)| (self.table.get(Key::Block(block)), block, class));
        if !home
            && counts
                .iter()
                .any(|(counts, _, class)| class.points.level(counts.points, now) > class.turned_away_above)
        {
            return Err(TurnedAway::Abuse);
        }
        if counts.iter().any(|(_, block, class)| self.open.get(block).copied().unwrap_or(0) >= class.at_once)
        {
            return Err(TurnedAway::Concurrent);
        }
        if counts.iter().any(|(counts, _, class)| !class.connections.has_room(counts.connections, now)) {
            return Err(TurnedAway::Rate);
        }
        for (block, class) in classes {
            class.connections.take(&mut self.table.entry(Key::Block(block)).connections, 1, now);
            *self.open.entry(block).or_insert(0) += 1;
        }
        Ok(())
    }

    /// A connection that was admitted is gone.
    pub fn closed(&mut self, address: IpAddr) {
        if self.exempt(address) {
            return;
        }
        for block in blocks(address) {
            if let hash_map::Entry::Occupied(mut open) = self.open.entry(block) {
                *open.get_mut() = open.get().saturating_sub(1);
                if *open.get() == 0 {
                    open.remove();
                }
            }
        }
    }

    /// A connection did something that honest clients do not.
    pub fn charge(&mut self, address: IpAddr, account: Option<AccountId>, offence: Offence, now: Moment) {
        self.charge_share(address, account, offence, 1, now);
    }

    /// One of so many connections did something that honest clients do not, nobody knows which: each bears its part. A block
    /// is charged with no more than the smaller one within it had room for: one address alone never gets its neighbours
    /// turned away.
    pub fn charge_share(
        &mut self,
        address: IpAddr,
        account: Option<AccountId>,
        offence: Offence,
        among: u32,
        now: Moment,
    ) {
        let share = points(offence).checked_div(among).unwrap_or_default().max(1);
        if !self.exempt(address) {
            let mut charged = share;
            for (block, class) in self.classes(address) {
                charged = class.points.take(&mut self.table.entry(Key::Block(block)).points, charged, now);
            }
        }
        if let Some(account) = account {
            let points_of = &mut self.table.entry(Key::Account(account)).points;
            self.account_points.take(points_of, share, now);
        }
    }

    /// What a login is counted against.
    fn counted(&self, address: IpAddr, target: Target) -> Vec<(Key, FailureRates)> {
        let key = match target {
            Target::Account { account, known: Some(network) } => {
                return vec![(Key::Pair(account, network), self.pair)];
            }
            Target::Account { account, known: None } => Key::Account(account),
            Target::Nobody(name) => Key::Nobody(name),
        };
        let blocks = self.classes(address).map(|(block, class)| (Key::Block(block), class.failures));
        blocks.into_iter().chain([(key, self.account)]).collect()
    }

    /// May a password be judged? Asked before anything is hashed.
    pub fn attempt(
        &mut self,
        address: IpAddr,
        target: Target,
        now: Moment,
    ) -> Result<Attempt, TooManyFailures> {
        if self.exempt(address) {
            return Ok(Attempt { charged: Vec::new() });
        }
        if let Target::Account { account, known: None } = target {
            let charged = self.table.get(Key::Account(account)).points;
            if self.account_points.level(charged, now) > self.account_points.capacity() / 2 {
                return Err(TooManyFailures);
            }
        }
        let charged = self.counted(address, target);
        for (key, rates) in &charged {
            let counts = self.table.get(*key);
            if !rates.minute.has_room(counts.minute, now) || !rates.day.has_room(counts.day, now) {
                return Err(TooManyFailures);
            }
        }
        for (key, rates) in &charged {
            let counts = self.table.entry(*key);
            rates.minute.take(&mut counts.minute, 1, now);
            rates.day.take(&mut counts.day, 1, now);
        }
        Ok(Attempt { charged })
    }

    /// It was the right password, or it was not judged at all: nothing is charged. (Earlier failures stay: else one
    /// account of one's own would pay for guesses at all others.)
    pub fn succeeded(&mut self, attempt: Attempt) {
        for (key, rates) in attempt.charged {
            if let Some(counts) = self.table.existing(key) {
                rates.minute.give_back(&mut counts.minute);
                rates.day.give_back(&mut counts.day);
            }
        }
    }

    /// How long to hold the reply to a failed login: after three failures a second longer each time, whether they
    /// came on this connection or on others from the same address.
    #[must_use]
    pub fn wait(&self, address: IpAddr, on_this_connection: u32, now: Moment) -> Duration {
        let [one, _, _] = blocks(address);
        let [class, _, _] = self.classes;
        let from_there = class.failures.minute.level(self.table.get(Key::Block(one)).minute, now);
        let failures = on_this_connection.max(from_there);
        Duration::from_secs(u64::from(failures.saturating_sub(PATIENCE).min(MAX_WAIT)))
    }

    /// Who is remembered for what, those that are refused now first; at most [`PAGE`] behind `skip`.
    #[must_use]
    pub fn list(&self, skip: u32, now: Moment) -> Vec<AbuseInfo> {
        let mut infos: Vec<_> =
            self.table.iter().filter_map(|(key, counts)| self.info(*key, counts, now)).collect();
        let order =
            |info: &AbuseInfo| Reverse((info.refused, u64::from(info.points) + u64::from(info.failures_day)));
        infos.sort_by_key(order);
        infos.into_iter().skip(usize::try_from(skip).unwrap_or(usize::MAX)).take(PAGE).collect()
    }

    /// `None`: nothing counts any more.
    fn info(&self, key: Key, counts: &Counts, now: Moment) -> Option<AbuseInfo> {
        let (who, rates, points, above) = match key {
            Key::Block(block) => {
                let class = self.class_of(block);
                let (address, prefix) = block.written();
                (Abuser::Network { address, prefix }, class.failures, class.points, class.turned_away_above)
            }
            Key::Account(account) => {
                let above = self.account_points.capacity() / 2;
                (Abuser::Account(account), self.account, self.account_points, above)
            }
            Key::Nobody(_) => (Abuser::Nobody, self.account, self.account_points, u32::MAX),
            Key::Pair(account, network) => {
                let (address, prefix) = network.written();
                (Abuser::Owner { account, address, prefix }, self.pair, self.account_points, u32::MAX)
            }
        };
        let info = AbuseInfo {
            who,
            failures_minute: rates.minute.level(counts.minute, now),
            failures_day: rates.day.level(counts.day, now),
            points: points.level(counts.points, now),
            refused: points.level(counts.points, now) > above
                || !rates.minute.has_room(counts.minute, now)
                || !rates.day.has_room(counts.day, now),
        };
        (info.failures_minute + info.failures_day + info.points > 0).then_some(info)
    }

    fn class_of(&self, block: Block) -> Class {
        let [one, small, large] = self.classes;
        match block.size() {
            Size::One => one,
            Size::Small => small,
            Size::Large => large,
        }
    }

    /// Forgets failures and offences of those that `forget` names; connections count on. How many that were that
    /// [`Self::list`] had.
    pub fn clear(&mut self, forget: impl Fn(Key) -> bool, now: Moment) -> u32 {
        let named: Vec<_> = self.table.iter().filter(|(key, _)| forget(*key)).copied().collect();
        for (key, _) in &named {
            if let Some(counts) = self.table.existing(*key) {
                *counts = Counts { connections: counts.connections, ..Counts::default() };
            }
        }
        let listed = named.iter().filter(|(key, counts)| self.info(*key, counts, now).is_some());
        u32::try_from(listed.count()).unwrap_or(u32::MAX)
    }

    /// Blocks, accounts and names remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.table.len()
    }
}

#[cfg(test)]
mod tests;
