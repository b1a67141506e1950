//! LIST and LSUB: which mailboxes there are (RFC 3501 §6.3.8, §6.3.9; RFC 9051 §6.3.9; RFC 5258; RFC 5819; RFC 6154).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use imapd::{List, ListSelection, NameForm, response};
use store_lib::{Mailbox, MailboxName, Right, SpecialUse, StoreError};

use crate::End;
use crate::metadata::entry_names;
use crate::pattern::Pattern;
use crate::remote::is_elsewhere;
use crate::reply::{Reply, Stop};
use crate::session::Session;

/// One name that LIST may show.
#[derive(Debug, Default)]
struct Listed<'a> {
    /// `None`: it is subscribed, or has such below it, and does not exist.
    mailbox: Option<&'a Mailbox>,
    subscribed: bool,
    /// The client's selection options mean it.
    chosen: bool,
    /// One of the patterns does.
    matches: bool,
    /// RECURSIVEMATCH, and something below it is meant that no pattern shows.
    child_info: bool,
}

impl Session {
    pub(crate) fn list(&mut self, list: &List) -> Result<Reply, Stop> {
        // Asks only for the separator and the root (RFC 3501 §6.3.8).
        if !list.extended && list.patterns.iter().all(String::is_empty) {
            self.connection.out.extend_from_slice(b"* LIST (\\Noselect) \"/\" \"\"\r\n");
            return Ok(Reply::ok("LIST completed"));
        }
        let entries = entry_names(&list.returns.metadata)?;
        let (mailboxes, subscriptions) = self.read(|reader| {
            let subscribed = list.selection.subscribed;
            let subscriptions = if subscribed { reader.subscriptions()? } else { Vec::new() };
            Ok((reader.mailboxes()?, subscriptions))
        })?;
        let mailboxes = self.visible(mailboxes)?;
        let parents: BTreeSet<MailboxName> =
            mailboxes.iter().filter_map(|mailbox| mailbox.name.parent()).collect();
        let mut names = candidates(&mailboxes, subscriptions, list.selection);
        self.match_names(&mut names, list)?;
        let tells_subscribed = list.selection.subscribed || list.returns.subscribed;
        for (name, listed) in &names {
            if !listed.matches || !(listed.chosen || listed.child_info) {
                continue;
            }
            let attributes = [
                // Of mailboxes of others it is not known here.
                (listed.mailbox.is_none() && !is_elsewhere(name.as_str())).then_some("\\NonExistent"),
                Some(if parents.contains(name) { "\\HasChildren" } else { "\\HasNoChildren" }),
                (tells_subscribed && listed.subscribed).then_some("\\Subscribed"),
                listed.mailbox.and_then(|mailbox| mailbox.special_use).map(SpecialUse::attribute),
            ];
            let child_info = listed.child_info.then_some(list.selection);
            let line = Line { word: "LIST", name: name.as_str(), child_info, old_name: None };
            line.write(&mut self.connection.out, attributes.into_iter().flatten(), self.names);
            // Of one that is shown only for what is below it no STATUS is told (RFC 5819 §3).
            if let Some(mailbox) = listed.mailbox.filter(|_| listed.chosen && !list.returns.status.is_empty())
                && self.rights(mailbox.id)?.has(Right::Read)
            {
                match self.write_status(mailbox, &list.returns.status) {
                    // Deleted meanwhile: the answer may do without (RFC 5819 §2).
                    Ok(()) | Err(StoreError::NoSuchMailbox) => (),
                    Err(error) => return Err(error.into()),
                }
            }
            if let Some(mailbox) = listed.mailbox.filter(|_| listed.chosen && !entries.is_empty()) {
                self.write_listed_metadata(mailbox, &entries)?;
            }
            self.connection.flush_if_full()?;
        }
        Ok(Reply::ok("LIST completed"))
    }

    /// Finds which names the patterns show, and with RECURSIVEMATCH what stands above those that they do not show.
    fn match_names(&self, names: &mut BTreeMap<MailboxName, Listed<'_>>, list: &List) -> Result<(), Stop> {
        let deadline = Instant::now() + self.limits.search;
        let patterns: Vec<Pattern> =
            list.patterns.iter().map(|pattern| Pattern::new(&list.reference, pattern)).collect();
        let matches = |name: &MailboxName| -> Result<bool, Stop> {
            if Instant::now() >= deadline {
                return Err(StoreError::OutOfBudget.into());
            }
            Ok(patterns.iter().any(|pattern| pattern.matches(name.as_str())))
        };
        let mut above = BTreeSet::new();
        for (name, listed) in &mut *names {
            listed.matches = matches(name)?;
            if !list.selection.recursive_match || listed.matches || !listed.chosen {
                continue;
            }
            let mut next = name.parent();
            while let Some(level) = next {
                next = level.parent();
                // What stands above that one is known as well.
                if !above.insert(level) {
                    break;
                }
            }
        }
        if self.connection.is_abandoned()? {
            return Err(End::Disconnected.into());
        }
        for level in above {
            let is_match = matches(&level)?;
            let listed = names.entry(level).or_default();
            (listed.matches, listed.child_info) = (is_match, true);
        }
        Ok(())
    }

    pub(crate) fn lsub(&mut self, reference: &str, pattern: &str) -> Result<Reply, Stop> {
        let ends_in_level = pattern.ends_with('%');
        let pattern = Pattern::new(reference, pattern);
        let subscriptions = self.read(|reader| reader.subscriptions())?;
        let subscribed: BTreeSet<&MailboxName> = subscriptions.iter().collect();
        // With % a level above a subscribed name is shown too, if it is not subscribed itself (RFC 3501 §6.3.9).
        let mut levels = BTreeSet::new();
        for name in &subscriptions {
            if pattern.matches(name.as_str()) {
                Line::of("LSUB", name).write(&mut self.connection.out, [], self.names);
            } else if ends_in_level {
                let above = std::iter::successors(name.parent(), MailboxName::parent);
                levels.extend(
                    above.filter(|level| !subscribed.contains(level) && pattern.matches(level.as_str())),
                );
            }
            self.connection.flush_if_full()?;
        }
        for level in &levels {
            Line::of("LSUB", level).write(&mut self.connection.out, ["\\Noselect"], self.names);
            self.connection.flush_if_full()?;
        }
        Ok(Reply::ok("LSUB completed"))
    }
}

/// Every name that the selection options could mean. No mailbox is on another server, so REMOTE adds none.
fn candidates(
    mailboxes: &[Mailbox],
    subscriptions: Vec<MailboxName>,
    selection: ListSelection,
) -> BTreeMap<MailboxName, Listed<'_>> {
    let of_mailbox = |mailbox| Listed { mailbox: Some(mailbox), ..Listed::default() };
    let mut names: BTreeMap<MailboxName, Listed<'_>> =
        mailboxes.iter().map(|mailbox| (mailbox.name.clone(), of_mailbox(mailbox))).collect();
    for name in subscriptions {
        names.entry(name).or_default().subscribed = true;
    }
    for listed in names.values_mut() {
        listed.subscribed |= listed.mailbox.is_some_and(|mailbox| mailbox.subscribed);
        let has_use = listed.mailbox.is_some_and(|mailbox| mailbox.special_use.is_some());
        listed.chosen = (listed.subscribed || !selection.subscribed) && (has_use || !selection.special_use);
    }
    names
}

/// `* LIST (attributes) "/" name`, and what RFC 9051 §6.3.9.6 and §6.3.9.7 add.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    word: &'static str,
    name: &'a str,
    /// Of which options the names below it are.
    child_info: Option<ListSelection>,
    /// What the client called it.
    old_name: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn of(word: &'static str, name: &'a MailboxName) -> Self {
        Self { word, name: name.as_str(), child_info: None, old_name: None }
    }

    /// Of a mailbox that the client called `asked`.
    pub(crate) fn called(name: &'a MailboxName, asked: &'a str) -> Self {
        // INBOX in any case is no other name for it.
        let old_name = (name.as_str() != asked && !name.is_inbox()).then_some(asked);
        Self { old_name, ..Self::of("LIST", name) }
    }

    /// Whether it tells the client of another name than it asked for.
    pub(crate) fn is_renamed(&self) -> bool {
        self.old_name.is_some()
    }

    pub(crate) fn write<'b>(
        self,
        out: &mut Vec<u8>,
        attributes: impl IntoIterator<Item = &'b str>,
        form: NameForm,
    ) {
        out.extend_from_slice(b"* ");
        out.extend_from_slice(self.word.as_bytes());
        out.push(b' ');
        response::list(out, attributes);
        out.extend_from_slice(b" \"/\" ");
        response::mailbox(out, self.name, form);
        if let Some(selection) = self.child_info {
            let options = [
                selection.subscribed.then_some("\"SUBSCRIBED\""),
                selection.special_use.then_some("\"SPECIAL-USE\""),
            ];
            out.extend_from_slice(b" (\"CHILDINFO\" ");
            response::list(out, options.into_iter().flatten());
            out.push(b')');
        }
        if let Some(name) = self.old_name {
            out.extend_from_slice(b" (\"OLDNAME\" (");
            response::mailbox(out, name, form);
            out.extend_from_slice(b"))");
        }
        out.extend_from_slice(b"\r\n");
    }
}
