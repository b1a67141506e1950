//! ESEARCH (RFC 7377): one search over several mailboxes, one after the other, without selecting them.

use std::time::Instant;

use imapd::{Numbering, SearchKey, SearchReturn, SearchSource, Tag, response};
use store_lib::{Mailbox, SEPARATOR, StoreError};

use crate::End;
use crate::mailboxes::normal_form;
use crate::reply::{Reply, Stop};
use crate::selected::Selected;
use crate::session::Session;

impl Session {
    pub(crate) fn esearch(
        &mut self,
        tag: &Tag,
        sources: &[SearchSource],
        results: SearchReturn,
        key: &SearchKey,
    ) -> Result<Reply, Stop> {
        let deadline = Instant::now() + self.limits.search;
        let selected = match sources.contains(&SearchSource::Selected) {
            true => Some(self.selected()?.mailbox),
            false => None,
        };
        // It is about the selected mailbox, whatever else is searched (RFC 7377 §2.2).
        if results.update {
            self.selected()?;
            self.check_update(tag, results)?;
        }
        let searched: Vec<Mailbox> = {
            let (all, subscribed) = self.read(|reader| Ok((reader.mailboxes()?, reader.subscriptions()?)))?;
            let is_subscribed = |mailbox: &Mailbox| subscribed.contains(&mailbox.name);
            let is_searched = |mailbox: &Mailbox| {
                selected == Some(mailbox.id)
                    || sources.iter().any(|source| is_of(source, mailbox, &is_subscribed))
            };
            all.into_iter().filter(is_searched).collect()
        };
        for mailbox in &searched {
            self.search_mailbox(tag, mailbox, results, key, deadline)?;
        }
        Ok(Reply::ok("ESEARCH completed"))
    }

    /// One of them. One that is deleted meanwhile has no messages.
    fn search_mailbox(
        &mut self,
        tag: &Tag,
        mailbox: &Mailbox,
        results: SearchReturn,
        key: &SearchKey,
        deadline: Instant,
    ) -> Result<(), Stop> {
        if self.selected.as_ref().is_some_and(|selected| selected.mailbox == mailbox.id) {
            let found = self.search_for(key, Some(results), false, deadline)?;
            self.refuse_cut()?;
            if results.update {
                let source = self.source_of(mailbox);
                self.keep_context(tag, &source, Numbering::Uid, key, None, &found);
            }
            return self.answer_for(tag, mailbox, results, key, &found, deadline);
        }
        let changes = self.store.watch(mailbox.id)?;
        let read = self.read(|reader| match reader.mailbox(mailbox.id)? {
            Some(_) => Ok(Some(reader.uids(mailbox.id)?)),
            None => Ok(None),
        })?;
        let Some(uids) = read else { return Ok(()) };
        let recent = self.store.recent(mailbox.id, false)?;
        let view =
            Selected::new(mailbox.id, true, changes, uids, mailbox.modseq, recent, mailbox.keywords.clone());
        let selected = self.selected.replace(view);
        let outcome = self
            .search_for(key, None, false, deadline)
            .and_then(|found| self.refuse_cut().map(|()| found))
            .and_then(|found| self.answer_for(tag, mailbox, results, key, &found, deadline));
        self.selected = selected;
        match outcome {
            Err(Stop::End(End::MailboxDeleted)) => Ok(()),
            Err(Stop::Reply(reply)) if reply == crate::reply::reply_for(&StoreError::NoSuchMailbox) => Ok(()),
            outcome => outcome,
        }
    }

    /// `* ESEARCH (TAG "t" MAILBOX "x" UIDVALIDITY 1) UID ALL 3`, unless nothing was found (RFC 7377 §2.1).
    fn answer_for(
        &mut self,
        tag: &Tag,
        mailbox: &Mailbox,
        results: SearchReturn,
        key: &SearchKey,
        found: &[usize],
        deadline: Instant,
    ) -> Result<(), Stop> {
        if found.is_empty() {
            // It is said of `$` too that there is nothing.
            return Ok(self.save_found(results, found)?);
        }
        let source = self.source_of(mailbox);
        let beside = self.beside(key, Some(results), found, deadline)?;
        Ok(self.answer_extended_of(tag, &source, Numbering::Uid, results, found, &beside)?)
    }

    /// Which mailbox an answer is about.
    fn source_of(&self, mailbox: &Mailbox) -> Vec<u8> {
        let mut source = Vec::new();
        source.extend_from_slice(b" MAILBOX ");
        response::mailbox(&mut source, mailbox.name.as_str(), self.names);
        source.extend_from_slice(b" UIDVALIDITY ");
        response::number(&mut source, u64::from(mailbox.uidvalidity.value()));
        source
    }
}

fn is_of(source: &SearchSource, mailbox: &Mailbox, is_subscribed: &dyn Fn(&Mailbox) -> bool) -> bool {
    let name = mailbox.name.as_str();
    match source {
        SearchSource::Selected => false,
        SearchSource::Inboxes => name.eq_ignore_ascii_case("INBOX"),
        SearchSource::Personal => true,
        SearchSource::Subscribed => is_subscribed(mailbox),
        SearchSource::Mailboxes(names) => names.iter().any(|asked| is_called(name, asked)),
        SearchSource::Subtree(names) => {
            names.iter().any(|asked| is_called(name, asked) || below(name, asked).is_some())
        }
        SearchSource::SubtreeOne(names) => names.iter().any(|asked| {
            is_called(name, asked) || below(name, asked).is_some_and(|rest| !rest.contains(SEPARATOR))
        }),
    }
}

/// As for every command: of that name, or of that name in normal form.
fn is_called(name: &str, asked: &str) -> bool {
    name == asked || name == normal_form(asked) || is_inbox(name) && is_inbox(asked)
}

fn is_inbox(name: &str) -> bool {
    name.eq_ignore_ascii_case("INBOX")
}

/// What follows `asked` and the separator in the name of a mailbox below it.
fn below<'a>(name: &'a str, asked: &str) -> Option<&'a str> {
    let top = name.split(SEPARATOR).next().unwrap_or_default();
    let below = |asked: &str| name.strip_prefix(asked)?.strip_prefix(SEPARATOR);
    match is_inbox(asked) && is_inbox(top) {
        true => name.get(top.len()..)?.strip_prefix(SEPARATOR),
        false => below(asked).or_else(|| below(&normal_form(asked))),
    }
}
