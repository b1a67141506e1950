//! SELECT, EXAMINE, CLOSE, UNSELECT (RFC 3501 §6.3.1, §6.3.2, §6.4.2; RFC 9051 §6.3.2, §6.3.3, §6.4.1, §6.4.2).

use std::io::Write;
use std::ops::ControlFlow;

use imapd::SelectParameters;
use imapd::response::{self, Status};
use store_lib::{Columns, FlagScope, MailboxId, Right, StoreError, SystemFlag, Uid};

use crate::list::Line;
use crate::reply::{Reply, Stop};
use crate::selected::Selected;
use crate::session::Session;
use crate::sync::tell_highest;
use crate::urlauth::MECHANISMS;
use crate::vanished::Resyncing;

/// Rows looked at in one read, in search of the first unseen message.
const ROWS_PER_SLICE: usize = 2000;

/// With none of these a mailbox is read-only (RFC 4314 §5.2).
const CHANGES: [Right; 5] = [Right::Insert, Right::Expunge, Right::Seen, Right::Write, Right::DeleteMessages];

impl Session {
    pub(crate) fn select(
        &mut self,
        asked: &str,
        parameters: &SelectParameters,
        examine: bool,
    ) -> Result<Reply, Stop> {
        if parameters.qresync.is_some() && !self.aware.qresync {
            // RFC 7162 §3.2.3.
            return Err(Reply::bad("ENABLE QRESYNC comes first").into());
        }
        // Even an attempt that fails leaves no mailbox selected (RFC 3501 §6.3.1). What comes behind CLOSED is about
        // the new one (RFC 9051 §7.1).
        if self.selected.is_some() {
            response::untagged(
                &mut self.connection.out,
                Status::Ok,
                "[CLOSED] the previous mailbox is closed",
            );
        }
        self.deselect();
        self.aware.condstore |= parameters.condstore;
        let mut read_only = examine || self.facts.read_only;
        let Some(mailbox) = self.find(asked)? else {
            return Err(StoreError::NoSuchMailbox.into());
        };
        let rights = self.rights(mailbox.id)?;
        // RFC 4314 §5.2.
        read_only |= !CHANGES.into_iter().any(|right| rights.has(right));
        let scope = FlagScope::of_rights(rights);
        // Watch first, read after: so no change falls between.
        let changes = self.store.watch(mailbox.id)?;
        let read = self.read(|reader| {
            let Some(mailbox) = reader.mailbox(mailbox.id)? else { return Ok(None) };
            let uids = reader.uids(mailbox.id)?;
            // One of another UIDVALIDITY is as if it were not there (RFC 7162 §3.2.5).
            let resync = parameters.qresync.as_deref();
            let resync = resync.filter(|resync| resync.uidvalidity == mailbox.uidvalidity.value());
            let resync = resync.map(|known| Resyncing::new(reader, &mailbox, &uids, known)).transpose()?;
            Ok(Some((mailbox, uids, resync)))
        })?;
        let Some((mailbox, uids, resync)) = read else { return Err(StoreError::NoSuchMailbox.into()) };
        // After the UIDs were read, so that none of them belongs to nobody; EXAMINE takes `\Recent` from no other session
        // (RFC 3501 §6.3.2).
        let claims = !read_only && !self.is_guest();
        let recent = self.store.recent(mailbox.id, claims)?;
        // A write, so only where there is something to keep.
        if claims && !recent.is_empty() {
            self.store.keep_recent(mailbox.id);
        }
        let rev1 = !self.rev2;
        // UNSEEN is a sequence number.
        let tells_unseen = rev1 && !self.aware.uid_only;
        let first_unseen = if tells_unseen && mailbox.counts.unseen > 0 {
            self.first_unseen(mailbox.id, &uids)?
        } else {
            None
        };
        let (id, modseq, keywords) = (mailbox.id, mailbox.modseq, mailbox.keywords.clone());
        let mut selected = Selected::new(id, read_only, changes, uids, modseq, recent, keywords);
        selected.shows_recent = rev1;
        selected.id_suffix.clone_from(&self.aware.id_suffix);

        let out = &mut self.connection.out;
        selected.write_flags_response(out);
        out.extend_from_slice(b"* OK [PERMANENTFLAGS ");
        let any_keyword = (!read_only && scope.others).then_some("\\*");
        let lasts = |name: &&str| match SystemFlag::from_name(name) {
            Some(flag) => !read_only && scope.has(flag),
            None => !read_only && scope.others,
        };
        response::list(out, selected.flag_names().filter(lasts).chain(any_keyword));
        out.extend_from_slice(b"] flags that last\r\n");
        // Nothing but an i/o error can come back, and a Vec has none.
        let _ = write!(out, "* {} EXISTS\r\n", selected.told().len());
        if rev1 {
            let _ = write!(out, "* {} RECENT\r\n", selected.recent_count());
        }
        if let Some(number) = first_unseen {
            response::untagged(out, Status::Ok, &format!("[UNSEEN {number}] first unseen message"));
        }
        let validity = mailbox.uidvalidity.value();
        response::untagged(out, Status::Ok, &format!("[UIDVALIDITY {validity}] UIDs are valid"));
        response::untagged(out, Status::Ok, &format!("[UIDNEXT {}] predicted next UID", mailbox.uidnext));
        if !self.facts.without.contains("OBJECTID") {
            let text = format!("[MAILBOXID ({id}{})] the mailbox", self.aware.id_suffix);
            response::untagged(out, Status::Ok, &text);
        }
        if self.guest.is_none() && !self.facts.without.contains("URLAUTH") {
            response::untagged(out, Status::Ok, &format!("{MECHANISMS} so URLs are authorised"));
        }
        if self.aware.condstore {
            tell_highest(out, mailbox.modseq, "the latest change");
        }
        if !rev1 {
            let (shown, guest) = (self.as_shown(mailbox)?, self.is_guest());
            let out = &mut self.connection.out;
            Line::called(&shown.name, if guest { shown.name.as_str() } else { asked }).write(
                out,
                [],
                self.names,
            );
        }
        self.selected = Some(selected);
        if let Some(resync) = resync {
            self.resync(&resync)?;
        }
        Ok(Reply::ok(match (examine, read_only) {
            (true, _) => "[READ-ONLY] EXAMINE completed",
            (false, true) => "[READ-ONLY] SELECT completed",
            (false, false) => "[READ-WRITE] SELECT completed",
        }))
    }

    fn first_unseen(&self, mailbox: MailboxId, uids: &[Uid]) -> Result<Option<usize>, StoreError> {
        for slice in uids.chunks(ROWS_PER_SLICE) {
            let (Some(first), Some(last)) = (slice.first(), slice.last()) else { continue };
            let mut found = None;
            self.read(|reader| {
                reader.fetch(mailbox, *first..=*last, Columns::Flags, |message| {
                    if message.flags.has(SystemFlag::Seen) {
                        return ControlFlow::Continue(());
                    }
                    found = Some(message.uid);
                    ControlFlow::Break(())
                })
            })?;
            if let Some(uid) = found {
                return Ok(uids.binary_search(&uid).ok().map(|place| place + 1));
            }
        }
        Ok(None)
    }

    /// Expunges without telling, unless the mailbox is read-only.
    pub(crate) fn close(&mut self) -> Result<Reply, Stop> {
        let selected = self.selected()?;
        let (mailbox, read_only) = (selected.mailbox, selected.read_only);
        // Without the right to expunge it only leaves the mailbox (RFC 4314 §4).
        if !read_only && self.rights(mailbox)?.has(Right::Expunge) {
            match self.store.expunge(mailbox, None, self.origin) {
                // Deleted by another session: closed all the same.
                Ok(_) | Err(StoreError::NoSuchMailbox) => (),
                Err(error) => return Err(error.into()),
            }
        }
        self.deselect();
        Ok(Reply::ok("CLOSE completed"))
    }

    pub(crate) fn unselect(&mut self) -> Result<Reply, Stop> {
        self.selected()?;
        self.deselect();
        Ok(Reply::ok("UNSELECT completed"))
    }

    /// No mailbox is selected any more. What arrived meanwhile and was told as `\Recent` here is so to nobody else.
    pub(crate) fn deselect(&mut self) {
        if let Some(selected) = self.selected.take()
            && selected.claimed
        {
            self.store.keep_recent(selected.mailbox);
        }
    }
}
