//! What SEARCH looks for, made ready: decided by a message's row where that is enough, else by its octets.

use std::collections::HashSet;
use std::num::NonZeroU32;

use imapd::{SearchKey, date_of, days_of};
use mail_lib::header;
use store_lib::{
    Columns, Flags, Keyword, Message, MessageId, ModSeq, Store, SystemFlag, ThreadId, Uid, UnixSeconds,
};

use crate::fuzzy::{self, Fuzzy};
use crate::limit::common;
use crate::reply::{Reply, Stop};
use crate::selected::{Places, Selected};
use crate::session::budget;
use crate::store::flags_of;
use crate::sync::modseq;
use crate::wanted::{Opened, Wanted};

/// A condition made ready: sets resolved, dates in days, texts as matchers.
pub(crate) enum Condition {
    All,
    And(Vec<Condition>),
    Or(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
    System(SystemFlag),
    /// `None`: no message can have it.
    Keyword(Option<Keyword>),
    Recent,
    /// Places in the client's view.
    Places(Places),
    /// Those of a thread.
    Messages(HashSet<MessageId>),
    /// Size in octets.
    Larger(u64),
    ModSeq(ModSeq),
    Smaller(u64),
    Received(Days),
    /// Seconds since 1970, or later ones.
    ReceivedSince(i64),
    /// Seconds since 1970, or earlier ones.
    ReceivedUntil(i64),
    Saved(Days),
    EmailId(String),
    Sent(Days),
    Field(String, Wanted),
    Body(Wanted),
    Text(Wanted),
    Fuzzy(Fuzzy),
}

/// Days since 1970.
#[derive(Clone, Copy)]
pub(crate) enum Days {
    Before(i64),
    On(i64),
    Since(i64),
}

/// What a zone is ahead or behind at most: less than a day.
const ZONE_SECONDS: i64 = 86_400;

impl Days {
    fn matches(self, day: i64) -> bool {
        match self {
            Self::Before(limit) => day < limit,
            Self::On(wanted) => day == wanted,
            Self::Since(limit) => day >= limit,
        }
    }

    /// For a time in an unknown zone; `None`: it depends on the zone.
    fn matches_anywhere(self, seconds: i64) -> Option<bool> {
        let first = seconds.saturating_sub(ZONE_SECONDS).div_euclid(86_400);
        let last = seconds.saturating_add(ZONE_SECONDS).div_euclid(86_400);
        match self {
            Self::On(wanted) => (wanted < first || wanted > last).then_some(false),
            Self::Before(_) | Self::Since(_) => {
                Some(self.matches(first)).filter(|first| *first == self.matches(last))
            }
        }
    }
}

/// What the store says of a message without opening it.
pub(crate) struct Row {
    pub(crate) place: usize,
    pub(crate) uid: Uid,
    pub(crate) id: MessageId,
    recent: bool,
    flags: Flags,
    modseq: ModSeq,
    pub(crate) size: u64,
    received: i64,
    /// One that has none counts by its internal date (RFC 8514 §4.2).
    saved: i64,
    /// `None`: not asked for, or not known.
    sent: Option<i64>,
}

impl Row {
    pub(crate) fn new(place: usize, message: Message<'_>, selected: &Selected) -> Self {
        Self {
            place,
            uid: message.uid,
            id: message.id,
            recent: selected.is_recent(message.uid),
            flags: message.flags,
            modseq: message.modseq,
            size: message.size,
            received: message.received.0,
            saved: message.saved.unwrap_or(message.received).0,
            sent: message.sent.map(|sent| sent.0),
        }
    }
}

impl Condition {
    pub(crate) fn new(key: &SearchKey, selected: &Selected, store: &Store) -> Result<Self, Stop> {
        let field =
            |name: &str, text: &imapd::SearchText| Self::Field(name.to_owned(), Wanted::in_field(name, text));
        let day = |date: &imapd::Date| days_of(*date);
        Ok(match key {
            SearchKey::All => Self::All,
            SearchKey::And(keys) => {
                let conditions: Result<Vec<_>, _> =
                    keys.iter().map(|key| Self::new(key, selected, store)).collect();
                Self::And(conditions?)
            }
            SearchKey::Or(left, right) => Self::Or(
                Box::new(Self::new(left, selected, store)?),
                Box::new(Self::new(right, selected, store)?),
            ),
            SearchKey::Not(key) => Self::Not(Box::new(Self::new(key, selected, store)?)),
            SearchKey::ThreadId(id) => Self::Messages(match ThreadId::parse(selected.own_id(id.as_str())) {
                Some(thread) => {
                    store.read(&budget(), |reader| reader.messages_told_of(thread))?.into_iter().collect()
                }
                None => HashSet::new(),
            }),
            SearchKey::Flag(flag) => Self::flag(flag)?,
            SearchKey::Recent => Self::Recent,
            SearchKey::Saved => Self::Places(selected.saved_places()),
            SearchKey::Sequence(set) => {
                let largest = u32::try_from(selected.told().len()).unwrap_or(u32::MAX);
                Self::Places(selected.sequence_places(&set.resolve(largest)))
            }
            SearchKey::Uid(set) => {
                let largest = selected.told().last().map_or(0, |uid| uid.value());
                Self::Places(selected.uid_places(&set.resolve(largest)))
            }
            SearchKey::UidAfter(uid) => Self::Places(selected.places_after(uid.get())),
            SearchKey::UidBefore(uid) => Self::Places(selected.places_before(uid.get())),
            SearchKey::Larger(size) => Self::Larger(*size),
            SearchKey::Smaller(size) => Self::Smaller(*size),
            SearchKey::SaveDateSupported => Self::All,
            SearchKey::SavedBefore(date) => Self::Saved(Days::Before(day(date))),
            SearchKey::SavedOn(date) => Self::Saved(Days::On(day(date))),
            SearchKey::SavedSince(date) => Self::Saved(Days::Since(day(date))),
            SearchKey::EmailId(id) => Self::EmailId(selected.own_id(id.as_str()).to_owned()),
            SearchKey::ModSeq(value) => Self::ModSeq(modseq(*value)),
            SearchKey::Before(date) => Self::Received(Days::Before(day(date))),
            SearchKey::On(date) => Self::Received(Days::On(day(date))),
            SearchKey::Since(date) => Self::Received(Days::Since(day(date))),
            SearchKey::Older(seconds) => Self::ReceivedUntil(seconds_ago(*seconds)),
            SearchKey::Younger(seconds) => Self::ReceivedSince(seconds_ago(*seconds)),
            SearchKey::SentBefore(date) => Self::Sent(Days::Before(day(date))),
            SearchKey::SentOn(date) => Self::Sent(Days::On(day(date))),
            SearchKey::SentSince(date) => Self::Sent(Days::Since(day(date))),
            SearchKey::Bcc(text) => field("Bcc", text),
            SearchKey::Cc(text) => field("Cc", text),
            SearchKey::From(text) => field("From", text),
            SearchKey::Subject(text) => field("Subject", text),
            SearchKey::To(text) => field("To", text),
            SearchKey::Header(name, text) => field(&String::from_utf8_lossy(name), text),
            SearchKey::Body(text) => Self::Body(Wanted::in_body(text)),
            SearchKey::Text(text) => Self::Text(Wanted::anywhere(text)),
            SearchKey::Fuzzy(key) => fuzzy::condition(key, selected, store)?,
            // None is left when it comes to this.
            SearchKey::Filter(_) => Self::Not(Box::new(Self::All)),
        })
    }

    fn flag(flag: &imapd::Flag) -> Result<Self, Reply> {
        Ok(match flag {
            imapd::Flag::Answered => Self::System(SystemFlag::Answered),
            imapd::Flag::Flagged => Self::System(SystemFlag::Flagged),
            imapd::Flag::Deleted => Self::System(SystemFlag::Deleted),
            imapd::Flag::Seen => Self::System(SystemFlag::Seen),
            imapd::Flag::Draft => Self::System(SystemFlag::Draft),
            // One that is too long to be set is on no message.
            imapd::Flag::Keyword(_) => Self::Keyword(
                flags_of(std::slice::from_ref(flag)).ok().and_then(|flags| flags.keywords().first().cloned()),
            ),
        })
    }

    /// The places that sets of numbers leave, where all else has to hold beside them.
    pub(crate) fn places_within(&self, places: Places) -> Places {
        if let Self::Places(only) = self {
            common(&places, only)
        } else if let Self::And(conditions) = self {
            conditions.iter().fold(places, |places, condition| condition.places_within(places))
        } else {
            places
        }
    }

    /// The places of flagged messages, where it is for no others: they are few, and the store finds them.
    pub(crate) fn flagged_within(
        &self,
        places: Places,
        selected: &Selected,
        store: &Store,
    ) -> Result<Places, Stop> {
        match self {
            Self::System(SystemFlag::Flagged) => {
                let flagged = store.read(&budget(), |reader| reader.flagged(selected.mailbox))?;
                Ok(common(&places, &selected.places_of(&flagged)))
            }
            Self::And(conditions) => conditions
                .iter()
                .try_fold(places, |places, condition| condition.flagged_within(places, selected, store)),
            _ => Ok(places),
        }
    }

    /// What has to be read of each message's row.
    pub(crate) fn columns(&self) -> Columns {
        if self.asks_when_sent() { Columns::Sent } else { Columns::Flags }
    }

    fn asks_when_sent(&self) -> bool {
        match self {
            Self::Sent(_) => true,
            Self::And(conditions) => conditions.iter().any(Self::asks_when_sent),
            Self::Or(left, right) => left.asks_when_sent() || right.asks_when_sent(),
            Self::Not(condition) => condition.asks_when_sent(),
            _ => false,
        }
    }

    /// All texts that are looked for.
    pub(crate) fn texts<'a>(&'a mut self, texts: &mut Vec<&'a mut Wanted>) {
        match self {
            Self::And(conditions) => conditions.iter_mut().for_each(|condition| condition.texts(texts)),
            Self::Or(left, right) => {
                left.texts(texts);
                right.texts(texts);
            }
            Self::Not(condition) => condition.texts(texts),
            Self::Field(_, wanted) | Self::Body(wanted) | Self::Text(wanted) => texts.push(wanted),
            Self::Fuzzy(fuzzy) => texts.extend(fuzzy.texts()),
            Self::All
            | Self::System(_)
            | Self::Keyword(_)
            | Self::Recent
            | Self::Places(_)
            | Self::Larger(_)
            | Self::Smaller(_)
            | Self::EmailId(_)
            | Self::Messages(_)
            | Self::ModSeq(_)
            | Self::Received(_)
            | Self::ReceivedSince(_)
            | Self::ReceivedUntil(_)
            | Self::Saved(_)
            | Self::Sent(_) => {}
        }
    }

    /// Decides by the row of the store and the index alone; `None`: it takes the octets.
    pub(crate) fn by_row(&self, row: &Row) -> Option<bool> {
        match self {
            Self::All => Some(true),
            // One that is false decides, whatever the others need.
            Self::And(conditions) => conditions
                .iter()
                .try_fold(Some(true), |all, condition| match condition.by_row(row) {
                    Some(false) => Err(()),
                    Some(true) => Ok(all),
                    None => Ok(None),
                })
                .unwrap_or(Some(false)),
            Self::Or(left, right) => match (left.by_row(row), right.by_row(row)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                (None, _) | (_, None) => None,
            },
            Self::Not(condition) => condition.by_row(row).map(|holds| !holds),
            Self::System(flag) => Some(row.flags.has(*flag)),
            Self::Keyword(keyword) => {
                Some(keyword.as_ref().is_some_and(|keyword| row.flags.has_keyword(keyword)))
            }
            Self::Recent => Some(row.recent),
            Self::Places(places) => {
                let after = places.partition_point(|range| range.end <= row.place);
                Some(places.get(after).is_some_and(|range| range.contains(&row.place)))
            }
            Self::Messages(messages) => Some(messages.contains(&row.id)),
            Self::Larger(size) => Some(row.size > *size),
            Self::ModSeq(modseq) => Some(row.modseq >= *modseq),
            Self::Saved(days) => Some(days.matches(days_of(date_of(row.saved)))),
            Self::EmailId(id) => Some(row.id.to_string() == *id),
            Self::Smaller(size) => Some(row.size < *size),
            Self::Received(days) => Some(days.matches(days_of(date_of(row.received)))),
            Self::ReceivedSince(time) => Some(row.received >= *time),
            Self::ReceivedUntil(time) => Some(row.received <= *time),
            Self::Sent(days) => row.sent.and_then(|sent| days.matches_anywhere(sent)),
            Self::Field(_, wanted) | Self::Body(wanted) | Self::Text(wanted) => {
                wanted.is_ruled_out(row.id).then_some(false)
            }
            Self::Fuzzy(fuzzy) => fuzzy.is_ruled_out(row.id).then_some(false),
        }
    }

    pub(crate) fn by_content(&mut self, row: &Row, message: &mut Opened<'_>) -> Result<bool, Stop> {
        if let Some(decided) = self.by_row(row) {
            return Ok(decided);
        }
        match self {
            Self::And(conditions) => {
                for condition in conditions {
                    if !condition.by_content(row, message)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Or(left, right) => Ok(left.by_content(row, message)? || right.by_content(row, message)?),
            Self::Not(condition) => Ok(!condition.by_content(row, message)?),
            Self::Sent(days) => {
                let days = *days;
                let date = message.header()?.first("Date").and_then(header::parse_date);
                // The day as its sender saw it, whatever the zone (RFC 3501 §6.4.4).
                let day =
                    date.map(|date| (date.unix_seconds + i64::from(date.offset_seconds)).div_euclid(86_400));
                Ok(day.is_some_and(|day| days.matches(day)))
            }
            Self::Field(name, wanted) => message.field_has(name, wanted),
            Self::Body(wanted) => message.body_has(wanted),
            Self::Fuzzy(fuzzy) => Ok(fuzzy.score(message)? > 0),
            Self::Text(wanted) => Ok(message.header_has(wanted)? || message.body_has(wanted)?),
            Self::All
            | Self::System(_)
            | Self::Keyword(_)
            | Self::Recent
            | Self::Places(_)
            | Self::Messages(_)
            | Self::Larger(_)
            | Self::ModSeq(_)
            | Self::Smaller(_)
            | Self::Received(_)
            | Self::Saved(_)
            | Self::EmailId(_)
            | Self::ReceivedSince(_)
            | Self::ReceivedUntil(_) => Ok(false),
        }
    }
}

/// The time that OLDER and YOUNGER are about (RFC 5032 §2).
fn seconds_ago(seconds: NonZeroU32) -> i64 {
    UnixSeconds::now().0.saturating_sub(i64::from(seconds.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_certain_only_where_no_zone_changes_it() {
        let noon = |day: i64| day * 86_400 + 43_200;
        for (days, certain) in [
            (Days::Since(10), [Some(false), None, None, Some(true), Some(true)]),
            (Days::Before(10), [Some(true), None, None, Some(false), Some(false)]),
            (Days::On(10), [Some(false), None, None, None, Some(false)]),
        ] {
            assert_eq!([8, 9, 10, 11, 12].map(|day| days.matches_anywhere(noon(day))), certain);
        }
        for zone in -23..=23 {
            for hour in 8 * 24..13 * 24_i64 {
                let seconds = hour * 3600;
                for days in [Days::Since(10), Days::Before(10), Days::On(10)] {
                    let day = (seconds + zone * 3600).div_euclid(86_400);
                    if let Some(certain) = days.matches_anywhere(seconds) {
                        assert_eq!(certain, days.matches(day), "{seconds} {zone}");
                    }
                }
            }
        }
    }
}
