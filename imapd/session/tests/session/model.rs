//! Sessions against a model. Random commands of several clients over one account, each client with its own view, made only of
//! what it is told; whatever happened in between, all views end as the account is.
//!
//! ```text
//!   commands ──▶ session ──▶ responses ──▶ View: numbers, UIDs, flags, the mod-sequence a client would keep
//!      └──▶ Model: which messages there are, with which flags ──▶ compared with every view, and with a new client's
//! ```
//!
//! Checked for every response: EXISTS never falls; EXPUNGE, FETCH and VANISHED name a message that the client counts; no EXPUNGE
//! or VANISHED in answers to FETCH, STORE and SEARCH by number; numbers and UIDs belong together. A client of QRESYNC may
//! drop at any time and comes back with what it knew, and is told all it missed: also when what was expunged is forgotten,
//! and when the store ended without warning.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use crate::harness::{Account, Client};

const CLIENTS: usize = 6;
const MAILBOXES: [&str; 2] = ["INBOX", "Other"];

/// How a client synchronises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Condstore,
    Qresync,
    UidOnly,
    /// Also QRESYNC, told without asking.
    Notified,
    /// Told of others at once, and of its own mailbox when it asks.
    Delayed,
}

const KINDS: [Kind; CLIENTS] =
    [Kind::Plain, Kind::Condstore, Kind::Qresync, Kind::UidOnly, Kind::Notified, Kind::Delayed];

#[derive(Debug, Clone)]
enum Act {
    Append {
        mailbox: usize,
    },
    Store {
        places: Vec<usize>,
        flag: usize,
        remove: bool,
        silent: bool,
        conditional: bool,
    },
    Expunge {
        only: Option<Vec<usize>>,
    },
    Copy {
        places: Vec<usize>,
        to: usize,
    },
    Move {
        places: Vec<usize>,
        to: usize,
    },
    Fetch {
        places: Vec<usize>,
    },
    Search,
    Noop,
    Idle,
    Select {
        mailbox: usize,
    },
    Close,
    /// The connection is gone, nothing was said.
    Drop,
    /// The mailbox that is not INBOX has another name for a moment.
    RenameThereAndBack,
    /// The store forgets what was expunged.
    Forget {
        kept: u32,
    },
    /// The account's process ends without warning, and is started again.
    Kill,
}

/// What is expunged needs the flag first, so that one is there more often.
const FLAGS: [&str; 5] = ["\\Deleted", "\\Deleted", "\\Seen", "\\Flagged", "$Work"];

fn any_act(kills: bool) -> impl Strategy<Value = Act> {
    let places = || proptest::collection::vec(0usize..12, 1..4);
    let mailbox = || 0..MAILBOXES.len();
    prop_oneof![
        6 => mailbox().prop_map(|mailbox| Act::Append { mailbox }),
        10 => (places(), 0..FLAGS.len(), prop::bool::weighted(0.2), any::<bool>(), any::<bool>()).prop_map(
            |(places, flag, remove, silent, conditional)| Act::Store { places, flag, remove, silent, conditional }
        ),
        4 => proptest::option::of(places()).prop_map(|only| Act::Expunge { only }),
        2 => (places(), mailbox()).prop_map(|(places, to)| Act::Copy { places, to }),
        2 => (places(), mailbox()).prop_map(|(places, to)| Act::Move { places, to }),
        3 => places().prop_map(|places| Act::Fetch { places }),
        1 => Just(Act::Search),
        3 => Just(Act::Noop),
        1 => Just(Act::Idle),
        3 => mailbox().prop_map(|mailbox| Act::Select { mailbox }),
        1 => Just(Act::Close),
        3 => Just(Act::Drop),
        1 => Just(Act::RenameThereAndBack),
        1 => (0u32..4).prop_map(|kept| Act::Forget { kept }),
        2 => Just(if kills { Act::Kill } else { Act::Noop }),
    ]
}

/// A message as a client sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Seen {
    /// `None`: not told yet.
    uid: Option<u32>,
    flags: Option<BTreeSet<String>>,
}

/// What a client keeps of a mailbox while it is away.
#[derive(Debug, Clone, Default)]
struct Kept {
    validity: u32,
    modseq: u64,
    messages: BTreeMap<u32, BTreeSet<String>>,
}

/// A client and its own view, kept from responses only.
struct Player {
    kind: Kind,
    client: Option<Client>,
    /// The selected mailbox.
    selected: Option<usize>,
    messages: Vec<Seen>,
    /// HIGHESTMODSEQ as RFC 7162 §6 has a client compute it.
    modseq: u64,
    validity: u32,
    /// Of QRESYNC clients, by mailbox.
    kept: [Kept; 2],
}

/// Words of a response, lists as one word each.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut depth) = (vec![String::new()], 0);
    for character in line.chars() {
        match character {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ' ' if depth == 0 => {
                words.push(String::new());
                continue;
            }
            _ => (),
        }
        words.last_mut().unwrap().push(character);
    }
    words
}

fn set(text: &str) -> BTreeSet<u32> {
    let ranges = text.split(',').map(|range| range.split_once(':').unwrap_or((range, range)));
    ranges.flat_map(|(first, last)| first.parse::<u32>().unwrap()..=last.parse().unwrap()).collect()
}

fn list(numbers: impl IntoIterator<Item = u32>) -> String {
    let words: Vec<String> = numbers.into_iter().map(|number| number.to_string()).collect();
    words.join(",")
}

/// Flags without `\Recent`, which is another session's matter.
fn flags(text: &str) -> BTreeSet<String> {
    let words = text.trim_start_matches('(').trim_end_matches(')').split(' ');
    words.filter(|word| !word.is_empty() && *word != "\\Recent").map(str::to_owned).collect()
}

/// During which command responses came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum During {
    /// FETCH, STORE or SEARCH by number: nothing is expunged (RFC 3501 §7.4.1).
    Numbers,
    Anything,
    /// SELECT: an earlier VANISHED and flags are about what was kept.
    Select,
}

impl Player {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            client: None,
            selected: None,
            messages: Vec::new(),
            modseq: 0,
            validity: 0,
            kept: Default::default(),
        }
    }

    fn client(&mut self, account: &Account) -> &mut Client {
        let kind = self.kind;
        self.client.get_or_insert_with(|| {
            let mut client = account.log_in();
            for command in match kind {
                Kind::Plain => &[][..],
                Kind::Condstore => &["ENABLE CONDSTORE"],
                Kind::Qresync => &["ENABLE QRESYNC"],
                Kind::UidOnly => &["ENABLE UIDONLY QRESYNC"],
                Kind::Notified => &[
                    "ENABLE QRESYNC",
                    "NOTIFY SET (selected (MessageNew (UID FLAGS) MessageExpunge FlagChange)) \
                     (personal (MessageNew MessageExpunge FlagChange))",
                ],
                Kind::Delayed => &["NOTIFY SET (selected-delayed (MessageNew MessageExpunge FlagChange)) \
                     (personal (MessageNew MessageExpunge FlagChange MailboxName))"],
            } {
                assert!(client.command(command).last().unwrap().starts_with("t OK"));
            }
            client
        })
    }

    fn knows_modseq(&self) -> bool {
        !matches!(self.kind, Kind::Plain | Kind::Delayed)
    }

    fn resyncs(&self) -> bool {
        matches!(self.kind, Kind::Qresync | Kind::UidOnly | Kind::Notified)
    }

    /// One command and its answer, heard.
    fn say(
        &mut self,
        account: &Account,
        command: &str,
        during: During,
    ) -> Result<Vec<String>, TestCaseError> {
        let client = self.client(account);
        client.send(format!("t {command}\r\n"));
        let lines = client.until("t ");
        let heard = self.hear(&lines, during);
        heard.map_err(|error| {
            TestCaseError::fail(format!("{:?} {command:?}: {error}\n{lines:#?}", self.kind))
        })?;
        Ok(lines)
    }

    fn hear(&mut self, lines: &[String], during: During) -> Result<(), TestCaseError> {
        let (mut highest, mut told) = (0, None);
        for line in lines {
            if let Some((_, code)) = line.split_once("[HIGHESTMODSEQ ") {
                told = code.split(']').next().unwrap().parse().ok();
            }
            if !line.starts_with("* ") {
                continue;
            }
            let words = words(line);
            let word = |at: usize| words.get(at).map(String::as_str).unwrap_or_default();
            let number = word(1).parse::<usize>().unwrap_or_default();
            match (word(1), word(2)) {
                (_, "EXISTS") => {
                    prop_assert!(number >= self.messages.len(), "{line} of {}", self.messages.len());
                    self.messages.resize(number, Seen::default());
                }
                (_, "EXPUNGE") => {
                    prop_assert!(during != During::Numbers, "{line}");
                    prop_assert!(!self.resyncs(), "{line}");
                    prop_assert!(
                        (1..=self.messages.len()).contains(&number),
                        "{line} of {}",
                        self.messages.len()
                    );
                    self.messages.remove(number - 1);
                }
                ("VANISHED", "(EARLIER)") => {
                    prop_assert!(during == During::Select && self.resyncs(), "{line}");
                    let gone = set(word(3));
                    if let Some(mailbox) = self.selected {
                        self.kept[mailbox].messages.retain(|uid, _| !gone.contains(uid));
                    }
                }
                ("VANISHED", uids) => {
                    prop_assert!(during != During::Numbers && self.resyncs(), "{line}");
                    for uid in set(uids) {
                        self.vanish(uid)?;
                    }
                }
                (_, "FETCH" | "UIDFETCH") => {
                    highest = highest.max(self.hear_fetch(number, word(2), word(3), during)?);
                }
                _ => (),
            }
        }
        // RFC 7162 §6.
        if let Some(told) = told {
            self.modseq = told;
        } else if highest > self.modseq {
            self.modseq = highest;
        }
        Ok(())
    }

    /// A client that does not know which number has the UID looks for one that it was not told the UID of. It can only
    /// be one between those that it knows.
    fn vanish(&mut self, uid: u32) -> Result<(), TestCaseError> {
        let known = self.messages.iter().position(|message| message.uid == Some(uid));
        let place = known.or_else(|| {
            let before =
                self.messages.iter().rposition(|message| message.uid.is_some_and(|other| other < uid));
            let next = before.map_or(0, |before| before + 1);
            self.messages.get(next).filter(|message| message.uid.is_none()).map(|_| next)
        });
        prop_assert!(place.is_some(), "{uid} vanished and is not counted: {:?}", self.messages);
        self.messages.remove(place.unwrap());
        Ok(())
    }

    fn hear_fetch(
        &mut self,
        number: usize,
        kind: &str,
        items: &str,
        during: During,
    ) -> Result<u64, TestCaseError> {
        let words = words(items.strip_prefix('(').and_then(|items| items.strip_suffix(')')).unwrap());
        let item = |name: &str| {
            words.iter().position(|word| word == name).and_then(|at| words.get(at + 1)).map(String::as_str)
        };
        prop_assert_eq!(kind == "UIDFETCH", self.kind == Kind::UidOnly, "{}", items);
        let mut uid = item("UID").map(|uid| uid.parse::<u32>().unwrap());
        let new = item("FLAGS").map(flags);
        let modseq = item("MODSEQ").map_or(0, |modseq| modseq.trim_matches(['(', ')']).parse().unwrap());
        prop_assert!(!self.knows_modseq() || modseq > 0, "MODSEQ is missing: {items}");
        if kind == "UIDFETCH" {
            uid = Some(u32::try_from(number).unwrap());
        } else {
            prop_assert!((1..=self.messages.len()).contains(&number), "{number} of {}", self.messages.len());
            let seen = &mut self.messages[number - 1];
            if let (Some(known), Some(uid)) = (seen.uid, uid) {
                prop_assert_eq!(known, uid, "number {} has another UID", number);
            }
            seen.uid = seen.uid.or(uid);
            if let Some(new) = &new {
                seen.flags = Some(new.clone());
            }
            uid = seen.uid;
        }
        prop_assert!(!self.resyncs() || uid.is_some(), "the UID is missing: {items}");
        if let (Some(uid), Some(new)) = (uid, new) {
            if let Some(seen) = self.messages.iter_mut().find(|seen| seen.uid == Some(uid)) {
                seen.flags = Some(new.clone());
            }
            if let (During::Select, Some(mailbox)) = (during, self.selected) {
                self.kept[mailbox].messages.insert(uid, new);
            }
        }
        Ok(modseq)
    }

    /// Opens a mailbox, with what was kept of it, and asks for what is still not known.
    fn select(&mut self, account: &Account, mailbox: usize) -> Result<(), TestCaseError> {
        self.client(account);
        self.take_news(account)?;
        self.keep();
        let name = MAILBOXES[mailbox];
        let validity = account.uidvalidity(name);
        (self.selected, self.messages, self.validity) = (Some(mailbox), Vec::new(), validity);
        let kept = &mut self.kept[mailbox];
        let resyncs = matches!(self.kind, Kind::Qresync | Kind::UidOnly | Kind::Notified);
        if kept.validity != validity || !resyncs {
            *kept = Kept { validity, ..Kept::default() };
        }
        let mut parameters = String::new();
        if resyncs && kept.modseq > 0 {
            let known = list(kept.messages.keys().copied());
            let known = if known.is_empty() { known } else { format!(" {known}") };
            parameters = format!(" (QRESYNC ({validity} {}{known}))", kept.modseq);
        }
        let command = format!("SELECT {name}{parameters}");
        self.say(account, &command, During::Select)?;
        self.learn_all(account)?;
        let there: BTreeSet<u32> = self.messages.iter().filter_map(|seen| seen.uid).collect();
        let ghosts: Vec<_> = self.kept[mailbox].messages.keys().filter(|uid| !there.contains(uid)).collect();
        prop_assert!(ghosts.is_empty(), "{:?} was not told by {command} that {ghosts:?} vanished", self.kind);
        Ok(())
    }

    /// What NOTIFY has had told already is about what was before.
    fn take_news(&mut self, account: &Account) -> Result<(), TestCaseError> {
        if self.kind == Kind::Notified && self.client.is_some() {
            self.say(account, "NOOP", During::Anything)?;
        }
        Ok(())
    }

    /// Which UID has which number; flags only of messages that were not known: the others' have to be right by now.
    fn learn_all(&mut self, account: &Account) -> Result<(), TestCaseError> {
        let mailbox = self.selected.unwrap();
        if self.messages.is_empty() {
            return Ok(());
        }
        if self.kind == Kind::UidOnly {
            let lines = self.say(account, "UID SEARCH ALL", During::Anything)?;
            let found = lines.iter().find_map(|line| line.strip_prefix("* SEARCH ")).unwrap_or_default();
            for uid in found.split_whitespace().filter_map(|word| word.parse::<u32>().ok()) {
                if self.messages.iter().all(|seen| seen.uid != Some(uid))
                    && let Some(seen) = self.messages.iter_mut().find(|seen| seen.uid.is_none())
                {
                    seen.uid = Some(uid);
                }
            }
        } else {
            self.say(account, "UID FETCH 1:* (UID)", During::Anything)?;
        }
        let kept = self.kept[mailbox].messages.clone();
        let mut unknown = Vec::new();
        for seen in &mut self.messages {
            let Some(uid) = seen.uid else { continue };
            match kept.get(&uid) {
                Some(flags) if seen.flags.is_none() => seen.flags = Some(flags.clone()),
                Some(_) => (),
                None if seen.flags.is_none() => unknown.push(uid),
                None => (),
            }
        }
        if !unknown.is_empty() {
            self.say(account, &format!("UID FETCH {} (FLAGS)", list(unknown)), During::Anything)?;
        }
        Ok(())
    }

    /// What a client that leaves or loses the mailbox has of it.
    fn keep(&mut self) {
        let Some(mailbox) = self.selected.take() else { return };
        let messages = self.messages.drain(..);
        let known = messages.filter_map(|seen| Some((seen.uid?, seen.flags?))).collect();
        self.kept[mailbox] = Kept { validity: self.validity, modseq: self.modseq, messages: known };
    }

    /// The connection is gone.
    fn hang_up(&mut self) {
        self.keep();
        if let Some(client) = self.client.take() {
            client.stream.shutdown(std::net::Shutdown::Both).unwrap();
            drop(client.end());
        }
    }

    /// UIDs of messages that the client counts, and what it calls them.
    fn names(&self, places: &[usize], by_uid: bool) -> Option<(BTreeSet<u32>, String)> {
        let named: BTreeMap<u32, u32> = places
            .iter()
            .filter(|_| !self.messages.is_empty())
            .filter_map(|place| {
                let place = place % self.messages.len();
                let uid = self.messages[place].uid?;
                Some((uid, if by_uid { uid } else { u32::try_from(place + 1).unwrap() }))
            })
            .collect();
        let words = list(named.values().copied());
        (!named.is_empty()).then(|| (named.into_keys().collect(), words))
    }
}

/// The account as it has to be: of each mailbox the next UID, and the flags of each message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model([(u32, BTreeMap<u32, BTreeSet<String>>); 2]);

impl Model {
    fn add(&mut self, mailbox: usize, flags: BTreeSet<String>) {
        let (last, messages) = &mut self.0[mailbox];
        *last += 1;
        messages.insert(*last, flags);
    }

    fn transfer(&mut self, from: usize, uids: &BTreeSet<u32>, to: usize, moves: bool) {
        for uid in uids {
            let Some(flags) = self.0[from].1.get(uid).cloned() else { continue };
            self.add(to, flags);
            if moves {
                self.0[from].1.remove(uid);
            }
        }
    }

    fn expunge(&mut self, mailbox: usize, only: Option<&BTreeSet<u32>>) {
        self.0[mailbox].1.retain(|uid, flags| {
            !flags.contains("\\Deleted") || only.is_some_and(|only| !only.contains(uid))
        });
    }

    fn listing(&self, mailbox: usize) -> Vec<(u32, BTreeSet<String>)> {
        self.0[mailbox].1.clone().into_iter().collect()
    }
}

struct Game {
    account: Account,
    model: Model,
    players: Vec<Player>,
    turn: usize,
}

impl Game {
    /// All look at INBOX, in which there is something.
    fn new() -> Result<Self, TestCaseError> {
        let account = Account::new();
        account.log_in().command("CREATE Other");
        let players = KINDS.into_iter().map(Player::new).collect();
        let mut game = Self { account, model: Model::default(), players, turn: 0 };
        for _ in 0..6 {
            game.play(0, &Act::Append { mailbox: 0 })?;
        }
        for who in 0..CLIENTS {
            game.play(who, &Act::Select { mailbox: 0 })?;
        }
        Ok(game)
    }

    fn play(&mut self, who: usize, act: &Act) -> Result<(), TestCaseError> {
        self.turn += 1;
        let Self { account, model, players, turn } = self;
        let player = &mut players[who];
        match act {
            Act::Kill => {
                players.iter_mut().for_each(Player::hang_up);
                account.kill();
                return self.compare();
            }
            Act::Forget { kept } => {
                account.store.forget_expunged(*kept).unwrap();
                return Ok(());
            }
            Act::Select { mailbox } => return player.select(account, *mailbox),
            Act::Drop => {
                player.hang_up();
                return Ok(());
            }
            Act::Append { mailbox } => {
                player.client(account);
                let name = MAILBOXES[*mailbox];
                player.say(
                    account,
                    &format!("APPEND {name} {{3+}}\r\n{}", *turn % 900 + 100),
                    During::Anything,
                )?;
                model.add(*mailbox, BTreeSet::new());
                return Ok(());
            }
            Act::RenameThereAndBack => {
                player.say(account, "RENAME Other There", During::Anything)?;
                player.say(account, "RENAME There Other", During::Anything)?;
                return Ok(());
            }
            _ => (),
        }
        let Some(mailbox) = player.selected else { return player.select(account, 0) };
        player.take_news(account)?;
        let by_uid = matches!(player.kind, Kind::UidOnly | Kind::Notified) || *turn % 2 == 0;
        let (prefix, during) = if by_uid { ("UID ", During::Anything) } else { ("", During::Numbers) };
        match act {
            Act::Store { places, flag, remove, silent, conditional } => {
                let Some((uids, names)) = player.names(places, by_uid) else { return Ok(()) };
                let mut how = String::new();
                if *conditional && player.knows_modseq() {
                    how = format!("(UNCHANGEDSINCE {}) ", player.modseq);
                }
                let (sign, silence) = (if *remove { '-' } else { '+' }, if *silent { ".SILENT" } else { "" });
                let flag = FLAGS[*flag];
                let command = format!("{prefix}STORE {names} {how}{sign}FLAGS{silence} ({flag})");
                let before = player.messages.clone();
                let lines = player.say(account, &command, during)?;
                let answer = lines.last().unwrap();
                let spared =
                    answer.split_once("[MODIFIED ").map(|(_, rest)| set(rest.split(']').next().unwrap()));
                let spared: BTreeSet<u32> = spared
                    .unwrap_or_default()
                    .into_iter()
                    .map(|name| if by_uid { name } else { before[name as usize - 1].uid.unwrap() })
                    .collect();
                prop_assert!(spared.is_empty() || !how.is_empty(), "{}", answer);
                let stored: BTreeSet<u32> = uids.difference(&spared).copied().collect();
                for uid in &stored {
                    if let Some(flags) = model.0[mailbox].1.get_mut(uid) {
                        if *remove {
                            flags.remove(flag)
                        } else {
                            flags.insert(flag.to_owned())
                        };
                    }
                }
                if *silent {
                    player.assume(&stored, flag, *remove, &lines);
                }
            }
            Act::Expunge { only } => {
                let only = match only {
                    None => None,
                    Some(places) => match player.names(places, true) {
                        None => return Ok(()),
                        named => named,
                    },
                };
                let command =
                    only.as_ref().map_or("EXPUNGE".to_owned(), |(_, words)| format!("UID EXPUNGE {words}"));
                player.say(account, &command, During::Anything)?;
                model.expunge(mailbox, only.as_ref().map(|(uids, _)| uids));
            }
            Act::Copy { places, to } | Act::Move { places, to } => {
                let Some((uids, names)) = player.names(places, by_uid) else { return Ok(()) };
                let moves = matches!(act, Act::Move { .. });
                let verb = if moves { "MOVE" } else { "COPY" };
                let command = format!("{prefix}{verb} {names} {}", MAILBOXES[*to]);
                let lines = player.say(account, &command, During::Anything)?;
                let gone = uids.iter().any(|uid| !model.0[mailbox].1.contains_key(uid));
                let refused = lines.last().unwrap().starts_with("t NO [EXPUNGEISSUED]");
                prop_assert_eq!(refused, gone && !by_uid, "{:?}", lines);
                if !refused {
                    model.transfer(mailbox, &uids, *to, moves);
                }
            }
            Act::Fetch { places } => {
                let Some((_, names)) = player.names(places, by_uid) else { return Ok(()) };
                player.say(account, &format!("{prefix}FETCH {names} (UID FLAGS)"), during)?;
            }
            Act::Search => {
                player.say(account, &format!("{prefix}SEARCH SEEN"), during)?;
            }
            Act::Noop => {
                player.say(account, "NOOP", During::Anything)?;
            }
            Act::Idle => {
                player.say(account, "IDLE\r\nDONE", During::Anything)?;
            }
            Act::Close => {
                player.say(account, "UNSELECT", During::Anything)?;
                player.keep();
            }
            Act::Append { .. }
            | Act::Select { .. }
            | Act::Drop
            | Act::RenameThereAndBack
            | Act::Kill
            | Act::Forget { .. } => (),
        }
        Ok(())
    }

    /// The account is as the model has it.
    fn compare(&self) -> Result<(), TestCaseError> {
        for (mailbox, name) in MAILBOXES.iter().enumerate() {
            prop_assert_eq!(truth(&self.account, name), self.model.listing(mailbox), "{}", name);
        }
        Ok(())
    }

    /// Every client that goes on sees the mailbox as it is; with `back` those that can come back do so first.
    fn converge(&mut self, back: bool) -> Result<(), TestCaseError> {
        self.compare()?;
        let Self { account, model, players, .. } = self;
        for player in players {
            let Some(mailbox) = player.selected else { continue };
            if back {
                player.hang_up();
                player.select(account, mailbox)?;
            }
            player.say(account, "NOOP", During::Anything)?;
            player.learn_all(account)?;
            let seen = player.messages.iter();
            let seen: Vec<_> =
                seen.map(|seen| (seen.uid.unwrap_or(0), seen.flags.clone().unwrap_or_default())).collect();
            prop_assert_eq!(seen, model.listing(mailbox), "{:?}, {}", player.kind, MAILBOXES[mailbox]);
        }
        Ok(())
    }
}

impl Player {
    /// A client takes a silent STORE for done, where it was not told of flags.
    fn assume(&mut self, uids: &BTreeSet<u32>, flag: &str, remove: bool, lines: &[String]) {
        // Of those whose flags were told, the answer has the last word.
        let told: BTreeSet<u32> = lines
            .iter()
            .filter(|line| line.contains("FETCH (") && line.contains("FLAGS ("))
            .filter_map(|line| {
                let number: u32 = words(line)[1].parse().ok()?;
                let uid = || self.messages.get(number as usize - 1).and_then(|seen| seen.uid);
                if self.kind == Kind::UidOnly { Some(number) } else { uid() }
            })
            .collect();
        for seen in &mut self.messages {
            let is_meant = seen.uid.is_some_and(|uid| uids.contains(&uid) && !told.contains(&uid));
            if let Some(flags) = seen.flags.as_mut().filter(|_| is_meant) {
                if remove {
                    flags.remove(flag)
                } else {
                    flags.insert(flag.to_owned())
                };
            }
        }
    }
}

/// What a client sees that looks at the mailbox for the first time.
fn truth(account: &Account, mailbox: &str) -> Vec<(u32, BTreeSet<String>)> {
    let mut client = account.log_in();
    client.command(&format!("EXAMINE {mailbox}"));
    let lines = client.command("UID FETCH 1:* (UID FLAGS)");
    let fetched = lines.iter().filter(|line| line.contains(" FETCH ("));
    fetched
        .map(|line| {
            let rest = line.split_once("(UID ").unwrap().1;
            let (uid, rest) = rest.split_once(' ').unwrap();
            let shown = rest.strip_prefix("FLAGS ").unwrap();
            (uid.parse().unwrap(), flags(shown.strip_suffix(')').unwrap()))
        })
        .collect()
}

fn run(acts: &[(usize, Act)]) -> Result<(), TestCaseError> {
    let mut game = Game::new()?;
    for (who, act) in acts {
        game.play(*who, act)?;
    }
    game.converge(false)?;
    game.converge(true)?;
    game.players.iter_mut().for_each(Player::hang_up);
    Ok(())
}

/// Failures are printed with the seed and kept beside this file. `MODEL_TIMES=50` plays as many times as many games.
fn config(cases: u32) -> ProptestConfig {
    let times = std::env::var("MODEL_TIMES").ok().and_then(|times| times.parse().ok()).unwrap_or(1);
    let cases = cases.saturating_mul(times);
    let kept = FileFailurePersistence::Direct("tests/session/model.regressions");
    ProptestConfig { cases, failure_persistence: Some(Box::new(kept)), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(150))]

    #[test]
    fn all_clients_end_with_what_there_is(
        acts in proptest::collection::vec((0..CLIENTS, any_act(false)), 1..60)
    ) {
        run(&acts)?;
    }
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn a_store_that_ends_without_warning_loses_nothing_that_was_answered(
        acts in proptest::collection::vec((0..CLIENTS, any_act(true)), 1..50)
    ) {
        run(&acts)?;
    }
}
