//! Commands about mailboxes as a whole, but LIST and LSUB (RFC 3501 §6.3; RFC 9051 §6.3; RFC 6154 §5).

use std::borrow::Cow;
use std::ops::ControlFlow;

use icu_normalizer::ComposingNormalizerBorrowed;
use imapd::{StatusItem, response};
use store_lib::{Columns, Mailbox, MailboxId, MailboxName, SEPARATOR, SpecialUse, StoreError, Uid};

use crate::list::Line;
use crate::reply::{Reply, Stop};
use crate::session::Session;

/// The proof that a name from the client is one. `inbox` in any case is INBOX.
pub(crate) fn name(text: &str) -> Result<MailboxName, Reply> {
    MailboxName::parse(text).map_err(|error| Reply::no(format!("[CANNOT] {error}")))
}

/// The same, in the form that new names have.
pub(crate) fn new_name(text: &str) -> Result<MailboxName, Reply> {
    name(&normal_form(text))
}

/// Two ways to write an é make one name: new ones are in Unicode's normal form C (RFC 9051 §5.1, RFC 5198 §2).
pub(crate) fn normal_form(text: &str) -> Cow<'_, str> {
    ComposingNormalizerBorrowed::new_nfc().normalize(text)
}

impl Session {
    pub(crate) fn create(&mut self, mailbox: &str, uses: &[String]) -> Result<Reply, Stop> {
        self.check_writable_account()?;
        // A trailing separator only announces that there will be names below (RFC 3501 §6.3.3).
        let asked = mailbox.strip_suffix(SEPARATOR).unwrap_or(mailbox);
        let name = name(&normal_form(asked))?;
        let special_use = match uses {
            [] => None,
            [one] => SpecialUse::from_attribute(one),
            [_, ..] => None,
        };
        if special_use.is_none() && !uses.is_empty() {
            return Err(Reply::no("[USEATTR] a mailbox has one of the uses that LIST shows").into());
        }
        let id = self.store.create(&name, special_use, self.origin)?;
        self.tell_old_name(&name, asked, &[]);
        if self.facts.without.contains("OBJECTID") {
            return Ok(Reply::ok("CREATE completed"));
        }
        Ok(Reply::ok(format!("[MAILBOXID ({id}{})] CREATE completed", self.aware.id_suffix)))
    }

    pub(crate) fn delete(&mut self, mailbox: &str) -> Result<Reply, Stop> {
        self.check_writable_account()?;
        let found = self.find(mailbox)?.ok_or(StoreError::NoSuchMailbox)?;
        self.store.delete(&found.name, self.origin)?;
        self.tell_old_name(&found.name, mailbox, &["\\NonExistent"]);
        // Its own doing does not take the client by surprise: the mailbox is simply not selected any more.
        if self.selected.as_ref().is_some_and(|selected| selected.mailbox == found.id) {
            self.deselect();
        }
        Ok(Reply::ok("DELETE completed"))
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str) -> Result<Reply, Stop> {
        self.check_writable_account()?;
        let found = self.find(from)?;
        let new = name(&normal_form(to))?;
        let old = found.ok_or(StoreError::NoSuchMailbox)?.name;
        self.store.rename(&old, &new, self.origin)?;
        if Line::called(&old, from).is_renamed() || Line::called(&new, to).is_renamed() {
            self.tell_old_name(&new, from, &[]);
        }
        Ok(Reply::ok("RENAME completed"))
    }

    pub(crate) fn subscribe(&mut self, mailbox: &str) -> Result<Reply, Stop> {
        self.check_writable_account()?;
        let name = match self.find(mailbox)? {
            Some(found) => found.name,
            None => name(&normal_form(mailbox))?,
        };
        self.store.set_subscribed(&name, true, self.origin)?;
        self.tell_old_name(&name, mailbox, &["\\Subscribed"]);
        Ok(Reply::ok("SUBSCRIBE completed"))
    }

    pub(crate) fn unsubscribe(&mut self, mailbox: &str) -> Result<Reply, Stop> {
        self.check_writable_account()?;
        let (exact, normal) = (name(mailbox)?, name(&normal_form(mailbox))?);
        self.store.set_subscribed(&exact, false, self.origin)?;
        if normal != exact {
            self.store.set_subscribed(&normal, false, self.origin)?;
            self.tell_old_name(&normal, mailbox, &[]);
        }
        Ok(Reply::ok("UNSUBSCRIBE completed"))
    }

    /// The mailbox that the client means: the one of exactly that name, else the one of that name in normal form.
    pub(crate) fn find(&self, asked: &str) -> Result<Option<Mailbox>, Stop> {
        let exact = name(asked)?;
        let found = self.read(|reader| reader.find(&exact))?;
        let normal = normal_form(asked);
        if found.is_some() || normal == asked {
            return Ok(found);
        }
        let normal = name(&normal)?;
        Ok(self.read(|reader| reader.find(&normal))?)
    }

    /// Tells a client of IMAP4rev2 that a mailbox has another name than it said (RFC 9051 §6.3.9.7). Others were not
    /// asked whether they know the form (RFC 5258 §3).
    fn tell_old_name(&mut self, name: &MailboxName, asked: &str, attributes: &[&str]) {
        let line = Line::called(name, asked);
        if self.rev2 && line.is_renamed() && !self.is_guest() {
            line.write(&mut self.connection.out, attributes.iter().copied(), self.names);
        }
    }

    pub(crate) fn status(&mut self, mailbox: &str, items: &[StatusItem]) -> Result<Reply, Stop> {
        let found = self.find(mailbox)?.ok_or(StoreError::NoSuchMailbox)?;
        let found = self.as_shown(found)?;
        self.write_status(&found, items)?;
        Ok(Reply::ok("STATUS completed"))
    }

    /// `* STATUS mailbox (items)`
    pub(crate) fn write_status(&mut self, mailbox: &Mailbox, items: &[StatusItem]) -> Result<(), StoreError> {
        let recent = if items.contains(&StatusItem::Recent) { self.count_recent(mailbox.id)? } else { 0 };
        let asks_storage = items.contains(&StatusItem::DeletedStorage);
        let deleted_storage = if asks_storage { self.deleted_storage(mailbox)? } else { 0 };
        let out = &mut self.connection.out;
        out.extend_from_slice(b"* STATUS ");
        response::mailbox(out, mailbox.name.as_str(), self.names);
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
                    StatusItem::AppendLimit => self.limits.message,
                    StatusItem::MailboxId => {
                        out.extend_from_slice(format!("({}{})", mailbox.id, self.aware.id_suffix).as_bytes());
                        continue;
                    }
                    StatusItem::Deleted => mailbox.counts.deleted,
                    StatusItem::HighestModSeq => mailbox.modseq.value(),
                    StatusItem::DeletedStorage => deleted_storage,
                    StatusItem::Messages => mailbox.counts.total,
                    StatusItem::Recent => recent,
                    StatusItem::Size => mailbox.counts.size,
                    StatusItem::UidNext => u64::from(mailbox.uidnext),
                    StatusItem::UidValidity => u64::from(mailbox.uidvalidity.value()),
                    StatusItem::Unseen => mailbox.counts.unseen,
                },
            );
        }
        out.extend_from_slice(b")\r\n");
        Ok(())
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
