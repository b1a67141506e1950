//! Commands about mailboxes as a whole (RFC 3501 §6.3; RFC 3348; RFC 6154).

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use imapd::{StatusItem, response};
use store_lib::{Columns, Mailbox, MailboxId, MailboxName, SEPARATOR, StoreError, Uid};

use crate::pattern::Pattern;
use crate::reply::{Reply, Stop};
use crate::session::Session;

/// The proof that a name from the client is one. `inbox` in any case is INBOX.
pub(crate) fn name(text: &str) -> Result<MailboxName, Reply> {
    MailboxName::parse(text).map_err(|error| Reply::no(format!("[CANNOT] {error}")))
}

impl Session {
    pub(crate) fn create(&mut self, mailbox: &str) -> Result<Reply, Stop> {
        self.check_writable_account()?;
        // A trailing separator only announces that there will be names below (RFC 3501 §6.3.3).
        let name = name(mailbox.strip_suffix(SEPARATOR).unwrap_or(mailbox))?;
        self.store.create(&name, None, self.origin)?;
        Ok(Reply::ok("CREATE completed"))
    }

    pub(crate) fn delete(&mut self, mailbox: &str) -> Result<Reply, Stop> {
        self.check_writable_account()?;
        let name = name(mailbox)?;
        let found = self.read(|reader| reader.find(&name))?.ok_or(StoreError::NoSuchMailbox)?;
        self.store.delete(&name, self.origin)?;
        // Its own doing does not take the client by surprise: the mailbox is simply not selected any more.
        if self.selected.as_ref().is_some_and(|selected| selected.mailbox == found.id) {
            self.deselect();
        }
        Ok(Reply::ok("DELETE completed"))
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str) -> Result<Reply, Stop> {
        self.check_writable_account()?;
        let (from, to) = (name(from)?, name(to)?);
        self.store.rename(&from, &to, self.origin)?;
        Ok(Reply::ok("RENAME completed"))
    }

    pub(crate) fn subscribe(&mut self, mailbox: &str, subscribed: bool) -> Result<Reply, Stop> {
        self.check_writable_account()?;
        self.store.set_subscribed(&name(mailbox)?, subscribed, self.origin)?;
        Ok(Reply::ok(if subscribed { "SUBSCRIBE completed" } else { "UNSUBSCRIBE completed" }))
    }

    pub(crate) fn list(&mut self, reference: &str, pattern: &str) -> Result<Reply, Stop> {
        // Asks only for the separator and the root (RFC 3501 §6.3.8).
        if pattern.is_empty() {
            self.connection.out.extend_from_slice(b"* LIST (\\Noselect) \"/\" \"\"\r\n");
            return Ok(Reply::ok("LIST completed"));
        }
        let pattern = Pattern::new(reference, pattern);
        let mailboxes = self.read(|reader| reader.mailboxes())?;
        let parents: BTreeSet<MailboxName> =
            mailboxes.iter().filter_map(|mailbox| mailbox.name.parent()).collect();
        for Mailbox { name, special_use, .. } in &mailboxes {
            if !pattern.matches(name.as_str()) {
                continue;
            }
            let children = if parents.contains(name) { "\\HasChildren" } else { "\\HasNoChildren" };
            let attributes = [Some(children), special_use.map(store_lib::SpecialUse::attribute)];
            list_line(&mut self.connection.out, "LIST", attributes.into_iter().flatten(), name.as_str());
            self.connection.flush_if_full()?;
        }
        Ok(Reply::ok("LIST completed"))
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
                list_line(&mut self.connection.out, "LSUB", [], name.as_str());
            } else if ends_in_level {
                let above = std::iter::successors(name.parent(), MailboxName::parent);
                levels.extend(
                    above.filter(|level| !subscribed.contains(level) && pattern.matches(level.as_str())),
                );
            }
            self.connection.flush_if_full()?;
        }
        for level in &levels {
            list_line(&mut self.connection.out, "LSUB", ["\\Noselect"], level.as_str());
            self.connection.flush_if_full()?;
        }
        Ok(Reply::ok("LSUB completed"))
    }

    pub(crate) fn status(&mut self, mailbox: &str, items: &[StatusItem]) -> Result<Reply, Stop> {
        let name = name(mailbox)?;
        let found = self.read(|reader| reader.find(&name))?.ok_or(StoreError::NoSuchMailbox)?;
        let recent = if items.contains(&StatusItem::Recent) { self.count_recent(found.id)? } else { 0 };
        let out = &mut self.connection.out;
        out.extend_from_slice(b"* STATUS ");
        response::mailbox(out, found.name.as_str());
        out.extend_from_slice(b" (");
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.push(b' ');
            }
            out.extend_from_slice(item.as_str().as_bytes());
            out.push(b' ');
            response::number(
                out,
                match item {
                    StatusItem::Messages => found.counts.total,
                    StatusItem::Recent => recent,
                    StatusItem::UidNext => u64::from(found.uidnext),
                    StatusItem::UidValidity => u64::from(found.uidvalidity.value()),
                    StatusItem::Unseen => found.counts.unseen,
                },
            );
        }
        out.extend_from_slice(b")\r\n");
        Ok(Reply::ok("STATUS completed"))
    }

    /// How many messages no session was told of yet.
    fn count_recent(&self, mailbox: MailboxId) -> Result<u64, StoreError> {
        let recent = self.store.recent(mailbox, false)?;
        let (Some(first), Some(last)) = (Uid::new(recent.start), Uid::new(recent.end.saturating_sub(1)))
        else {
            return Ok(0);
        };
        let mut count = 0;
        if first <= last {
            self.read(|reader| {
                reader.fetch(mailbox, first..=last, Columns::Flags, |_| {
                    count += 1;
                    ControlFlow::Continue(())
                })
            })?;
        }
        Ok(count)
    }
}

/// `* LIST (attributes) "/" name`
fn list_line<'a>(out: &mut Vec<u8>, word: &str, attributes: impl IntoIterator<Item = &'a str>, name: &str) {
    out.extend_from_slice(b"* ");
    out.extend_from_slice(word.as_bytes());
    out.push(b' ');
    response::list(out, attributes);
    out.extend_from_slice(b" \"/\" ");
    response::mailbox(out, name);
    out.extend_from_slice(b"\r\n");
}
