//! Random operations against a model of a few lines.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;
use store_lib::{
    Budget, FlagChange, Flags, Keyword, MailboxName, ModSeq, SystemFlag, Uid, UidValidity, UnixSeconds,
};

use crate::account::{Account, fresh_id, nobody, uid_of};

#[derive(Debug, Clone)]
enum Operation {
    Deliver { mailbox: usize, size: usize },
    Append { mailbox: usize, flags: u8 },
    Change { mailbox: usize, messages: Vec<Index>, how: u8, flags: u8 },
    Copy { from: usize, messages: Vec<Index>, to: usize },
    Move { from: usize, messages: Vec<Index>, to: usize },
    Expunge { mailbox: usize, only: Option<Vec<Index>> },
    Create { mailbox: usize },
    Delete { mailbox: usize },
    Rename { from: usize, to: usize },
    Reopen,
    Kill,
}

/// Few names, so that operations meet.
const NAMES: [&str; 6] = ["INBOX", "a", "a/b", "a/b/c", "d", "d/e"];

#[derive(Debug, Clone, Default, PartialEq)]
struct ModelMailbox {
    validity: Option<UidValidity>,
    next: u32,
    /// Flags and content by UID.
    messages: BTreeMap<u32, (Flags, usize)>,
}

/// Sizes double as contents: a message is so many equal octets.
const SIZES: [usize; 5] = [0, 700, 2_500, 30_000, 66_000];

fn flags(bits: u8) -> Flags {
    let mut flags = Flags::NONE;
    for (bit, flag) in SystemFlag::ALL.into_iter().enumerate() {
        if bits & (1 << bit) != 0 {
            flags = flags.with(flag);
        }
    }
    if bits & 32 != 0 {
        flags.add_keyword(Keyword::parse("$Work").unwrap()).unwrap();
    }
    flags
}

fn operation() -> impl Strategy<Value = Operation> {
    let mailbox = 0..NAMES.len();
    let messages = || proptest::collection::vec(any::<Index>(), 1..4);
    prop_oneof![
        6 => (mailbox.clone(), 0..SIZES.len()).prop_map(|(mailbox, size)| Operation::Deliver { mailbox, size }),
        2 => (mailbox.clone(), 0..64_u8).prop_map(|(mailbox, flags)| Operation::Append { mailbox, flags }),
        4 => (mailbox.clone(), messages(), 0..3_u8, 0..64_u8)
            .prop_map(|(mailbox, messages, how, flags)| Operation::Change { mailbox, messages, how, flags }),
        3 => (mailbox.clone(), messages(), mailbox.clone())
            .prop_map(|(from, messages, to)| Operation::Copy { from, messages, to }),
        3 => (mailbox.clone(), messages(), mailbox.clone())
            .prop_map(|(from, messages, to)| Operation::Move { from, messages, to }),
        3 => (mailbox.clone(), proptest::option::of(messages()))
            .prop_map(|(mailbox, only)| Operation::Expunge { mailbox, only }),
        3 => mailbox.clone().prop_map(|mailbox| Operation::Create { mailbox }),
        1 => mailbox.clone().prop_map(|mailbox| Operation::Delete { mailbox }),
        1 => (mailbox.clone(), mailbox).prop_map(|(from, to)| Operation::Rename { from, to }),
        1 => Just(Operation::Reopen),
        1 => Just(Operation::Kill),
    ]
}

#[derive(Default)]
struct Model(BTreeMap<String, ModelMailbox>);

impl Model {
    fn pick(&self, mailbox: usize, messages: &[Index]) -> Vec<u32> {
        let Some(mailbox) = self.0.get(NAMES[mailbox]) else { return vec![1] };
        let all: Vec<u32> = mailbox.messages.keys().copied().collect();
        let mut picked: Vec<u32> =
            messages.iter().filter(|_| !all.is_empty()).map(|at| *at.get(&all)).collect();
        picked.sort_unstable();
        picked.dedup();
        picked
    }

    fn add(&mut self, name: &str, flags: Flags, size: usize) -> Option<u32> {
        let mailbox = self.0.get_mut(name)?;
        mailbox.next += 1;
        mailbox.messages.insert(mailbox.next - 1, (flags, size));
        Some(mailbox.next - 1)
    }

    fn below(&self, name: &str) -> Vec<String> {
        self.0.keys().filter(|other| other.starts_with(&format!("{name}/"))).cloned().collect()
    }

    fn create(&mut self, name: &str) {
        for (end, _) in name.match_indices('/').chain([(name.len(), "")]) {
            self.0
                .entry(name[..end].to_owned())
                .or_insert(ModelMailbox { next: 1, ..ModelMailbox::default() });
        }
    }
}

struct Run {
    account: Account,
    model: Model,
    modseq: ModSeq,
}

impl Run {
    fn apply(&mut self, operation: &Operation) {
        let name = |mailbox: usize| MailboxName::parse(NAMES[mailbox]).unwrap();
        let id = |run: &Self, mailbox: usize| {
            let found =
                run.account.store().read(&Budget::default(), |reader| reader.find(&name(mailbox))).unwrap();
            found.map(|mailbox| mailbox.id)
        };
        match operation {
            Operation::Deliver { mailbox, size } => {
                let octets = vec![b'm'; SIZES[*size]];
                let delivered = self.account.try_deliver(NAMES[*mailbox], &octets, fresh_id());
                let expected = self.model.add(NAMES[*mailbox], Flags::NONE, *size);
                assert_eq!(
                    delivered.ok().map(|delivered| self.rises(delivered.filed.modseq, delivered.filed.uid)),
                    expected
                );
            }
            Operation::Append { mailbox, flags: bits } => {
                let Some(id) = id(self, *mailbox) else { return };
                let staged = self.account.stage(b"").unwrap();
                let filed =
                    self.account.store().append(id, staged, flags(*bits), UnixSeconds(0), nobody()).unwrap();
                let expected = self.model.add(NAMES[*mailbox], flags(*bits), 0).unwrap();
                assert_eq!(self.rises(filed.modseq, filed.uid), expected);
            }
            Operation::Change { mailbox, messages, how, flags: bits } => {
                let Some(id) = id(self, *mailbox) else { return };
                let picked = self.model.pick(*mailbox, messages);
                let uids: Vec<Uid> = picked.iter().copied().map(uid_of).collect();
                let given = flags(*bits);
                let change = match how {
                    0 => FlagChange::Add(given.clone()),
                    1 => FlagChange::Remove(given.clone()),
                    _ => FlagChange::Replace(given.clone()),
                };
                let stored = self.account.store().change_flags(id, &uids, change, nobody()).unwrap();
                let mut highest = self.modseq;
                for (uid, stored) in picked.iter().zip(&stored) {
                    let (flags, _) =
                        self.model.0.get_mut(NAMES[*mailbox]).unwrap().messages.get_mut(uid).unwrap();
                    let before = flags.clone();
                    match how {
                        0 => flags.add(&given).unwrap(),
                        1 => flags.remove(&given),
                        _ => *flags = given.clone(),
                    }
                    assert_eq!((stored.uid.value(), &stored.flags), (*uid, &*flags));
                    assert_eq!(stored.modseq > self.modseq, before != *flags);
                    highest = highest.max(stored.modseq);
                }
                assert_eq!(stored.len(), picked.len());
                self.modseq = highest;
            }
            Operation::Copy { from, messages, to } | Operation::Move { from, messages, to } => {
                let moving = matches!(operation, Operation::Move { .. });
                let (Some(source), Some(target)) = (id(self, *from), id(self, *to)) else { return };
                let picked = self.model.pick(*from, messages);
                let uids: Vec<Uid> = picked.iter().copied().map(uid_of).collect();
                let store = self.account.store();
                let done = if moving {
                    store.move_messages(source, &uids, target, nobody())
                } else {
                    store.copy(source, &uids, target, nobody())
                };
                let pairs: Vec<_> = done.unwrap().pairs.iter().map(|(a, b)| (a.value(), b.value())).collect();
                let mut expected = Vec::new();
                for uid in picked {
                    let (flags, size) = self.model.0[NAMES[*from]].messages[&uid].clone();
                    expected.push((uid, self.model.add(NAMES[*to], flags, size).unwrap()));
                    if moving {
                        self.model.0.get_mut(NAMES[*from]).unwrap().messages.remove(&uid);
                    }
                }
                assert_eq!(pairs, expected);
            }
            Operation::Expunge { mailbox, only } => {
                let Some(id) = id(self, *mailbox) else { return };
                let picked = only.as_ref().map(|only| self.model.pick(*mailbox, only));
                let uids: Option<Vec<Uid>> =
                    picked.as_ref().map(|picked| picked.iter().copied().map(uid_of).collect());
                let expunged = self.account.store().expunge(id, uids.as_deref(), nobody()).unwrap();
                let messages = &mut self.model.0.get_mut(NAMES[*mailbox]).unwrap().messages;
                let mut expected = Vec::new();
                messages.retain(|uid, (flags, _)| {
                    let named = picked.as_ref().is_none_or(|picked| picked.contains(uid));
                    let goes = named && flags.has(SystemFlag::Deleted);
                    if goes {
                        expected.push(*uid);
                    }
                    !goes
                });
                assert_eq!(expunged.iter().map(|(uid, _)| uid.value()).collect::<Vec<_>>(), expected);
                for (uid, modseq) in expunged {
                    assert!(modseq > self.modseq, "{uid:?}");
                }
            }
            Operation::Create { mailbox } => {
                let created = self.account.store().create(&name(*mailbox), None, nobody());
                assert_eq!(created.is_ok(), !self.model.0.contains_key(NAMES[*mailbox]));
                self.model.create(NAMES[*mailbox]);
            }
            Operation::Delete { mailbox } => {
                let allowed = *mailbox != 0
                    && self.model.0.contains_key(NAMES[*mailbox])
                    && self.model.below(NAMES[*mailbox]).is_empty();
                assert_eq!(self.account.store().delete(&name(*mailbox), nobody()).is_ok(), allowed);
                if allowed {
                    self.model.0.remove(NAMES[*mailbox]);
                }
            }
            Operation::Rename { from, to } => self.rename(NAMES[*from], NAMES[*to]),
            Operation::Reopen => self.account.reopen(),
            Operation::Kill => self.account = self.account.killed_now(),
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        let parse = |name: &str| MailboxName::parse(name).unwrap();
        let renamed = self.account.store().rename(&parse(from), &parse(to), nobody());
        let there = self.model.0.contains_key(from) && !self.model.0.contains_key(to);
        let allowed = there && (from == "INBOX" || !to.starts_with(&format!("{from}/")));
        assert_eq!(renamed.is_ok(), allowed, "{from} to {to}");
        if !allowed {
            return;
        }
        self.model.create(to);
        if from == "INBOX" {
            let inbox = self.model.0.get_mut("INBOX").unwrap();
            let (messages, next) = (std::mem::take(&mut inbox.messages), inbox.next);
            *self.model.0.get_mut(to).unwrap() = ModelMailbox { validity: None, next, messages };
            return;
        }
        for old in self.model.below(from).into_iter().chain([from.to_owned()]) {
            let moved = self.model.0.remove(&old).unwrap();
            self.model.0.insert(format!("{to}{}", &old[from.len()..]), moved);
        }
    }

    /// Takes note of a new modseq.
    fn rises(&mut self, modseq: ModSeq, uid: Uid) -> u32 {
        assert!(modseq > self.modseq);
        self.modseq = modseq;
        uid.value()
    }

    fn compare(&mut self) {
        let all = self.account.store().read(&Budget::default(), |reader| reader.mailboxes()).unwrap();
        let ours: Vec<_> = all.iter().filter(|mailbox| mailbox.special_use.is_none()).collect();
        assert_eq!(
            ours.iter().map(|mailbox| mailbox.name.as_str()).collect::<Vec<_>>(),
            self.model.0.keys().map(String::as_str).collect::<Vec<_>>()
        );
        for mailbox in ours {
            self.modseq = self.modseq.max(mailbox.modseq);
            let model = self.model.0.get_mut(mailbox.name.as_str()).unwrap();
            assert_eq!(*model.validity.get_or_insert(mailbox.uidvalidity), mailbox.uidvalidity);
            assert_eq!(mailbox.uidnext, model.next, "{}", mailbox.name);
            let expected: Vec<_> =
                model.messages.iter().map(|(uid, (flags, _))| (*uid, flags.clone())).collect();
            assert_eq!(self.account.listing(mailbox.id), expected, "{}", mailbox.name);
        }
    }

    fn compare_octets(&self) {
        for (name, mailbox) in &self.model.0 {
            let id = self.account.id(name);
            for (uid, (_, size)) in &mailbox.messages {
                let octets = self.account.octets(id, *uid).unwrap();
                assert!(octets.iter().rev().take_while(|octet| **octet == b'm').count() >= SIZES[*size]);
                assert_eq!(octets.len(), SIZES[*size] + "Received: by us\r\n".len());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_operations_gives_what_the_model_has(operations in proptest::collection::vec(operation(), 1..60)) {
        let mut model = Model::default();
        model.create("INBOX");
        let mut run = Run { account: Account::new(), model, modseq: ModSeq::ZERO };
        run.compare();
        for operation in &operations {
            run.apply(operation);
            run.compare();
        }
        run.compare_octets();
        run.account.check();
    }
}
