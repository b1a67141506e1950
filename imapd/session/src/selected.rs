//! The selected mailbox as this client sees it: which message has which number, and what it has not been told yet.

mod sleep;

use std::collections::BTreeMap;
use std::ops::Range;

use imapd::{MessageSet, NumberSet, Numbering, response};
use store_lib::{
    Annotated, Change, Changes, EntryName, Event, Flags, Keyword, MailboxId, ModSeq, Origin, SystemFlag, Uid,
};

use crate::context::{Context, Touched};
use crate::reply::Reply;

/// Names of changed entries that are kept for the client. It need not be told of any (RFC 5464 §4.1).
const METADATA_WAITING: usize = 100;

/// A mailbox between SELECT and CLOSE. Sequence number N is `uids[N - 1]`.
#[derive(Debug)]
pub(crate) struct Selected {
    pub(crate) mailbox: MailboxId,
    pub(crate) read_only: bool,
    pub(crate) changes: Changes,
    /// Rising. The first `told` of them are known to the client.
    uids: Vec<Uid>,
    told: usize,
    /// Expunged, and the client still counts them; and a mod-sequence before that.
    gone: BTreeMap<Uid, ModSeq>,
    /// Flags that others changed, and when.
    flags: BTreeMap<Uid, (Flags, ModSeq)>,
    /// Entries of it and of the server that others changed: at most [`METADATA_WAITING`].
    pub(crate) metadata: Vec<(Annotated, EntryName)>,
    /// Another session took away what authorised URLs of it.
    pub(crate) access_key_reset: bool,
    /// When the store was last read as a whole: changes up to this one are in `uids` already.
    read_at: ModSeq,
    /// The latest change that is in the above.
    modseq: ModSeq,
    /// UIDs of messages that are `\Recent` here, in order.
    recent: Vec<Range<u32>>,
    /// Some of them were claimed since, and that is not stored yet.
    pub(crate) claimed: bool,
    /// `\Recent` is shown: not in IMAP4rev2, which does not have it (RFC 9051 §2.3.2).
    pub(crate) shows_recent: bool,
    /// As in [`crate::sync::Awareness`].
    pub(crate) id_suffix: String,
    /// UIDs that `$` stands for. Ranges of them may have holes, where no message was and, UIDs only rising, none will
    /// be.
    saved: NumberSet,
    /// The client was not told of flags that were changed after this, and will not be.
    dropped: Option<ModSeq>,
    /// Searches whose changes are told.
    pub(crate) contexts: Vec<Context>,
    /// What these have not looked at yet.
    pub(crate) touched: Touched,
    keywords: Vec<Keyword>,
    /// How many of these were in the latest FLAGS response.
    introduced: usize,
}

/// A set resolved to places in the client's view, in order, without overlap.
pub(crate) type Places = Vec<Range<usize>>;

impl Selected {
    pub(crate) fn new(
        mailbox: MailboxId,
        read_only: bool,
        changes: Changes,
        uids: Vec<Uid>,
        modseq: ModSeq,
        recent: Range<u32>,
        keywords: Vec<Keyword>,
    ) -> Self {
        let (told, introduced) = (uids.len(), keywords.len());
        Self {
            mailbox,
            read_only,
            changes,
            uids,
            told,
            gone: BTreeMap::new(),
            flags: BTreeMap::new(),
            metadata: Vec::new(),
            access_key_reset: false,
            read_at: modseq,
            modseq,
            recent: Vec::from_iter([recent]),
            claimed: false,
            shows_recent: true,
            id_suffix: String::new(),
            saved: NumberSet::default(),
            dropped: None,
            contexts: Vec::new(),
            touched: Touched::default(),
            keywords,
            introduced,
        }
    }

    /// The UIDs that the client can name.
    pub(crate) fn told(&self) -> &[Uid] {
        self.uids.get(..self.told).unwrap_or_default()
    }

    /// The place of a message the client knows.
    pub(crate) fn place(&self, uid: Uid) -> Option<usize> {
        self.told().binary_search(&uid).ok()
    }

    /// The identifier that the client was told as `shown`; nothing's, if it was told none such.
    pub(crate) fn own_id<'i>(&self, shown: &'i str) -> &'i str {
        shown.strip_suffix(self.id_suffix.as_str()).unwrap_or_default()
    }

    pub(crate) fn is_gone(&self, uid: Uid) -> bool {
        self.gone.contains_key(&uid)
    }

    pub(crate) fn is_recent(&self, uid: Uid) -> bool {
        let before = self.recent.partition_point(|range| range.end <= uid.value());
        self.recent.get(before).is_some_and(|range| range.contains(&uid.value()))
    }

    /// Whether the client is told that a message is `\Recent`.
    pub(crate) fn tells_recent(&self, uid: Uid) -> bool {
        self.shows_recent && self.is_recent(uid)
    }

    /// These are `\Recent` here too; they are behind those that were.
    pub(crate) fn add_recent(&mut self, uids: Range<u32>) {
        match self.recent.last_mut() {
            Some(last) if last.end >= uids.start => last.end = last.end.max(uids.end),
            Some(_) | None => self.recent.push(uids),
        }
    }

    pub(crate) fn recent_count(&self) -> u64 {
        let before = |limit: u32| self.told().partition_point(|uid| uid.value() < limit);
        self.recent.iter().map(|range| before(range.end).saturating_sub(before(range.start)) as u64).sum()
    }

    /// Where the messages of `set` stand. Unknown UIDs are passed over (RFC 3501 §6.4.8); an unknown sequence number
    /// is BAD, and so is any in an empty mailbox (RFC 3501 §9, `seq-number`).
    pub(crate) fn resolve(&self, set: &MessageSet, numbering: Numbering) -> Result<Places, Reply> {
        let set = match set {
            MessageSet::Numbers(set) => set,
            MessageSet::Saved => return Ok(self.saved_places()),
        };
        match numbering {
            Numbering::Sequence => {
                let numbers = set.resolve(u32::try_from(self.told).unwrap_or(u32::MAX));
                if self.told == 0 || numbers.largest() as usize > self.told {
                    return Err(Reply::bad("no message has that number"));
                }
                Ok(self.sequence_places(&numbers))
            }
            Numbering::Uid => {
                Ok(self.uid_places(&set.resolve(self.told().last().map_or(0, |uid| uid.value()))))
            }
        }
    }

    /// The UIDs of `$`.
    pub(crate) fn saved(&self) -> &NumberSet {
        &self.saved
    }

    /// Where the messages of `$` stand. Those that the client was told to be expunged are not among them (RFC 9051
    /// §6.4.4.1).
    pub(crate) fn saved_places(&self) -> Places {
        self.uid_places(&self.saved)
    }

    /// Makes `$` stand for the messages at these rising places, and no others.
    pub(crate) fn save(&mut self, places: impl IntoIterator<Item = usize>) {
        let mut saved = NumberSet::default();
        let mut run: Option<Range<usize>> = None;
        let mut places = places.into_iter();
        loop {
            let place = places.next();
            match (&mut run, place) {
                (Some(run), Some(place)) if run.end == place => run.end += 1,
                (run, place) => {
                    let next = place.map(|place| place..place + 1);
                    let ended = std::mem::replace(run, next).and_then(|run| self.told().get(run));
                    if let Some([first, .., last] | [first @ last]) = ended {
                        saved.push_range(first.value()..=last.value());
                    }
                    if place.is_none() {
                        break;
                    }
                }
            }
        }
        self.saved = saved;
    }

    pub(crate) fn all_places(&self) -> Places {
        std::iter::once(0..self.told).collect()
    }

    /// Numbers that no message has are passed over.
    pub(crate) fn sequence_places(&self, numbers: &NumberSet) -> Places {
        let place = |number: u32| usize::try_from(number).unwrap_or(usize::MAX).saturating_sub(1);
        let ranges = numbers.ranges().iter().filter(|range| *range.end() > 0);
        let places =
            ranges.map(|range| place(*range.start())..place(*range.end()).saturating_add(1).min(self.told));
        places.filter(|range| range.start < range.end).collect()
    }

    pub(crate) fn uid_places(&self, uids: &NumberSet) -> Places {
        let told = self.told();
        let from = |uid: u32| told.partition_point(|known| known.value() < uid);
        let places = uids.ranges().iter().map(|range| {
            let end = range.end().checked_add(1).map_or(told.len(), from);
            from(*range.start())..end
        });
        places.filter(|range| range.start < range.end).collect()
    }

    /// The places of messages, which rise, as far as the client knows of them.
    pub(crate) fn places_of(&self, uids: &[Uid]) -> Places {
        let mut places = Places::new();
        for place in uids.iter().filter_map(|uid| self.place(*uid)) {
            match places.last_mut() {
                Some(last) if last.end == place => last.end += 1,
                _ => places.push(place..place + 1),
            }
        }
        places
    }

    /// What the client calls the message at a place that it knows.
    pub(crate) fn number_at(&self, place: usize, numbering: Numbering) -> u32 {
        match numbering {
            Numbering::Sequence => u32::try_from(place).unwrap_or(u32::MAX).saturating_add(1),
            Numbering::Uid => self.told().get(place).map_or(0, |uid| uid.value()),
        }
    }

    /// Places of messages with a higher UID.
    pub(crate) fn places_after(&self, uid: u32) -> Places {
        let told = self.told();
        std::iter::once(told.partition_point(|known| known.value() <= uid)..told.len()).collect()
    }

    /// Places of messages with a lower UID.
    pub(crate) fn places_before(&self, uid: u32) -> Places {
        std::iter::once(0..self.told().partition_point(|known| known.value() < uid)).collect()
    }

    /// The UIDs at `places`.
    pub(crate) fn uids_at(&self, places: &Places) -> Vec<Uid> {
        places.iter().flat_map(|range| self.told().get(range.clone()).unwrap_or_default()).copied().collect()
    }

    /// Notes what others and this session itself changed. `false`: the mailbox is no more.
    pub(crate) fn absorb(&mut self, changes: Vec<Change>, own: Origin) -> bool {
        for Change { origin, event } in changes {
            match event {
                Event::Appended { uid, modseq, flags } => {
                    if self.is_news(modseq) {
                        self.learn(&flags);
                        self.touch(uid);
                        self.arrived(uid);
                    }
                }
                Event::Flags { uid, modseq, flags } => {
                    self.touch(uid);
                    // What this session did itself it has told already, or was asked not to tell. But older flags
                    // that are still owed must not be told after it.
                    if self.is_news(modseq) && (origin != own || self.flags.contains_key(&uid)) {
                        self.flags_changed(uid, flags, modseq);
                    }
                }
                Event::Expunged { uid, modseq } => {
                    if self.is_news(modseq) {
                        self.expunged(uid, modseq);
                    }
                }
                Event::Deleted => return false,
                Event::MailboxesChanged => (),
                Event::AccessKeyReset => self.access_key_reset |= origin != own,
                Event::Metadata { of, entry } => {
                    let news = (of, entry);
                    if origin != own
                        && self.metadata.len() < METADATA_WAITING
                        && !self.metadata.contains(&news)
                    {
                        self.metadata.push(news);
                    }
                }
            }
        }
        true
    }

    /// Its flags are others, or it is new.
    fn touch(&mut self, uid: Uid) {
        if !self.contexts.is_empty() {
            self.touched.add(uid);
        }
    }

    fn is_news(&mut self, modseq: ModSeq) -> bool {
        self.modseq = self.modseq.max(modseq);
        modseq > self.read_at
    }

    /// The latest change that the client knows of or is owed.
    pub(crate) fn modseq(&self) -> ModSeq {
        self.modseq
    }

    /// Up to here the client was told everything, provided that it is told the flags owed to it.
    pub(crate) fn settled(&self) -> ModSeq {
        self.gone.values().chain(&self.dropped).copied().fold(self.modseq, Ord::min)
    }

    /// All that are there, also those that the client was not told of.
    pub(crate) fn uids(&self) -> &[Uid] {
        &self.uids
    }

    pub(crate) fn arrived(&mut self, uid: Uid) {
        if self.uids.last().is_none_or(|last| *last < uid) {
            self.uids.push(uid);
        }
    }

    pub(crate) fn flags_changed(&mut self, uid: Uid, flags: Flags, modseq: ModSeq) {
        self.learn(&flags);
        if self.place(uid).is_some() {
            self.flags.insert(uid, (flags, modseq));
        }
    }

    /// Whether the client has older flags than another session made them.
    pub(crate) fn owes_flags(&self, uid: Uid) -> bool {
        self.flags.contains_key(&uid)
    }

    /// The client is being told this message's flags, so no older ones are owed any more.
    pub(crate) fn flags_told(&mut self, uid: Uid) {
        self.flags.remove(&uid);
    }

    pub(crate) fn expunged(&mut self, uid: Uid, modseq: ModSeq) {
        match self.uids.binary_search(&uid) {
            Ok(place) if place < self.told => {
                self.gone.entry(uid).or_insert(modseq.before());
                self.flags.remove(&uid);
            }
            // It came and went between two answers; the client never hears of it.
            Ok(place) => {
                self.uids.remove(place);
            }
            Err(_) => (),
        }
    }

    /// After events were lost: `uids` are those there are at `modseq`.
    pub(crate) fn compare(&mut self, uids: &[Uid], modseq: ModSeq) {
        let since = self.modseq;
        (self.read_at, self.modseq) = (modseq, modseq);
        self.touched = Touched::All;
        let missing = self.uids.iter().filter(|uid| uids.binary_search(uid).is_err());
        for uid in missing.copied().collect::<Vec<_>>() {
            // Some time after what was known.
            self.expunged(uid, since.after());
        }
        uids.iter().for_each(|uid| self.arrived(*uid));
    }

    /// Takes expunged messages out of the numbering; `tell` gets the numbers of the EXPUNGE responses, each counted
    /// after the ones before (RFC 3501 §7.4.1), and the UIDs.
    pub(crate) fn tell_expunged<E>(
        &mut self,
        mut tell: impl FnMut(u64, Uid) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.gone.is_empty() {
            return Ok(());
        }
        let gone = std::mem::take(&mut self.gone);
        let mut number = 0;
        let mut outcome = Ok(());
        self.uids.retain(|uid| {
            number += 1;
            if !gone.contains_key(uid) {
                return true;
            }
            number -= 1;
            if outcome.is_ok() {
                outcome = tell(number + 1, *uid);
            }
            false
        });
        self.told -= gone.len();
        outcome
    }

    /// Whether there are messages that the client has not been told of.
    pub(crate) fn has_arrivals(&self) -> bool {
        self.uids.len() > self.told
    }

    /// Lets the client count new messages; how many it knows then, if there are any new ones.
    pub(crate) fn tell_arrived(&mut self) -> Option<u64> {
        let arrived = self.has_arrivals();
        self.told = self.uids.len();
        arrived.then_some(self.told as u64)
    }

    /// Flags owed to the client.
    pub(crate) fn take_flags(&mut self) -> BTreeMap<Uid, (Flags, ModSeq)> {
        std::mem::take(&mut self.flags)
    }

    /// The client does not want to hear of flags that others changed.
    pub(crate) fn drop_flags(&mut self) {
        let oldest = self.flags.values().map(|(_, modseq)| modseq.before()).chain(self.dropped).min();
        self.flags.clear();
        self.dropped = oldest;
    }

    /// Notes keywords that are new in this mailbox.
    pub(crate) fn learn(&mut self, flags: &Flags) {
        for keyword in flags.keywords() {
            if !self.keywords.contains(keyword) {
                self.keywords.push(keyword.clone());
            }
        }
    }

    /// Writes a FLAGS response if there are keywords that the client has not heard of (RFC 3501 §7.2.6).
    pub(crate) fn introduce(&mut self, out: &mut Vec<u8>) {
        if self.keywords.len() > self.introduced {
            self.introduced = self.keywords.len();
            self.write_flags_response(out);
        }
    }

    pub(crate) fn write_flags_response(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"* FLAGS ");
        response::list(out, self.flag_names());
        out.extend_from_slice(b"\r\n");
    }

    pub(crate) fn flag_names(&self) -> impl Iterator<Item = &str> {
        let system = SystemFlag::ALL.into_iter().map(|flag| -> &str { flag.name() });
        system.chain(self.keywords.iter().map(Keyword::as_str))
    }
}

/// `(\Seen $Forwarded \Recent)`
pub(crate) fn write_flags(out: &mut Vec<u8>, flags: &Flags, recent: bool) {
    let system =
        SystemFlag::ALL.into_iter().filter(|flag| flags.has(*flag)).map(|flag| -> &str { flag.name() });
    let keywords = flags.keywords().iter().map(Keyword::as_str);
    response::list(out, system.chain(keywords).chain(recent.then_some("\\Recent")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use imapd::{Command, Limits, Parser};

    fn uids(values: impl IntoIterator<Item = u32>) -> Vec<Uid> {
        values.into_iter().filter_map(Uid::new).collect()
    }

    /// A mailbox as selected; the directory has to live as long.
    fn selected(values: impl IntoIterator<Item = u32>) -> (Selected, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let store = store_lib::Store::open(dir.path()).unwrap();
        let inbox = store_lib::MailboxName::inbox();
        let mailbox = store.read(&Default::default(), |reader| reader.find(&inbox)).unwrap().unwrap();
        let changes = store.watch(mailbox.id).unwrap();
        let selected = Selected::new(
            mailbox.id,
            false,
            changes,
            uids(values),
            ModSeq::ZERO,
            1..u32::MAX,
            mailbox.keywords,
        );
        (selected, dir)
    }

    fn set(text: &str) -> MessageSet {
        let line = format!("a COPY {text} x\r\n");
        let event = Parser::new(Limits::SESSION).next(&mut line.as_bytes());
        let Some(imapd::Event::Command(tagged)) = event else { panic!("{text}") };
        let Command::Copy { set, .. } = tagged.command else { panic!("{text}") };
        set
    }

    #[test]
    fn sets_name_the_messages_that_are_there() {
        let (selected, _dir) = selected([3, 5, 9, 10]);
        for (text, numbering, found) in [
            ("1:2,4", Numbering::Sequence, vec![3, 5, 10]),
            ("*", Numbering::Sequence, vec![10]),
            ("4:2", Numbering::Sequence, vec![5, 9, 10]),
            ("1:4", Numbering::Uid, vec![3]),
            ("4:9", Numbering::Uid, vec![5, 9]),
            ("100:*", Numbering::Uid, vec![10]),
            ("4,6:8", Numbering::Uid, vec![]),
            ("1:4294967295", Numbering::Uid, vec![3, 5, 9, 10]),
        ] {
            let places = selected.resolve(&set(text), numbering).unwrap();
            assert_eq!(selected.uids_at(&places), uids(found), "{text}");
        }
        assert!(selected.resolve(&set("5"), Numbering::Sequence).is_err());
        assert!(selected.resolve(&set("1:5"), Numbering::Sequence).is_err());
    }

    #[test]
    fn expunge_numbers_count_after_those_before_them() {
        let (mut selected, _dir) = selected([1, 2, 3, 4, 5]);
        uids([1, 2, 5, 7]).into_iter().for_each(|uid| selected.expunged(uid, ModSeq::MAX));
        let mut told = Vec::new();
        selected
            .tell_expunged(|number, _| {
                told.push(number);
                Ok::<_, std::convert::Infallible>(())
            })
            .unwrap();
        assert_eq!(told, [1, 1, 3]);
        assert_eq!(selected.told(), uids([3, 4]));
    }

    #[test]
    fn new_messages_have_no_number_until_they_are_told() {
        let (mut selected, _dir) = selected([1]);
        uids([2, 3]).into_iter().for_each(|uid| selected.arrived(uid));
        assert!(selected.resolve(&set("2"), Numbering::Sequence).is_err());
        uids([2]).into_iter().for_each(|uid| selected.expunged(uid, ModSeq::MAX));
        assert_eq!(selected.tell_arrived(), Some(2));
        assert_eq!(selected.tell_arrived(), None);
        assert_eq!(selected.told(), uids([1, 3]));
    }

    /// Another session's change, then one of our own, both read after the second: the client ends with the newer.
    #[test]
    fn older_flags_are_never_told_after_newer_ones() {
        let (mut selected, _dir) = selected([1]);
        let (own, other) = (Origin::NONE, {
            let dir = tempfile::tempdir().unwrap();
            store_lib::Store::open(dir.path()).unwrap().origin()
        });
        let uid = Uid::MIN;
        let both = Flags::NONE.with(SystemFlag::Seen).with(SystemFlag::Flagged);
        let change =
            |origin, flags| Change { origin, event: Event::Flags { uid, modseq: selected_modseq(), flags } };
        let changes = vec![change(other, Flags::NONE.with(SystemFlag::Seen)), change(own, both.clone())];
        assert!(selected.absorb(changes, own));
        assert_eq!(selected.take_flags().get(&uid), Some(&(both, selected_modseq())));
    }

    /// Any modseq above zero: the store makes them, so one is asked for.
    fn selected_modseq() -> ModSeq {
        let dir = tempfile::tempdir().unwrap();
        let store = store_lib::Store::open(dir.path()).unwrap();
        let inbox = store_lib::MailboxName::inbox();
        let mailbox = store.read(&Default::default(), |reader| reader.find(&inbox)).unwrap().unwrap();
        mailbox.createseq.max(mailbox.modseq)
    }
}
