//! COPY, MOVE and EXPUNGE (RFC 3501 §6.4.3, §6.4.7; RFC 6851; RFC 4315).

use imapd::response::{self, Status};
use imapd::{MessageSet, NumberSet, Numbering};
use store_lib::{Copied, FlagChange, Flags, MailboxId, StoreError, Uid};

use crate::append::no_such_target;
use crate::reply::{Reply, Stop};
use crate::session::Session;
use crate::store::some_were_expunged;

impl Session {
    pub(crate) fn copy(
        &mut self,
        numbering: Numbering,
        set: &MessageSet,
        mailbox: &str,
    ) -> Result<Reply, Stop> {
        self.check_writable_account()?;
        let uids = self.sources(numbering, set)?;
        self.refuse_cut()?;
        let from = self.selected()?.mailbox;
        let to = self.target(mailbox)?;
        if uids.is_empty() {
            return Ok(Reply::ok("COPY completed, no message has such a UID"));
        }
        let Self { store, connection, progress, origin, .. } = self;
        // Who does not read any more is noticed when the answer is written.
        let mut tell = |done| {
            if let Some(progress) = progress.as_mut() {
                let _ = progress.report(connection, done, uids.len());
            }
        };
        let copied = store.copy_telling(from, &uids, to, *origin, &mut tell).map_err(target_error)?;
        self.drop_forbidden_flags(to, &copied)?;
        Ok(Reply::ok(format!("{}COPY completed", copy_uid(&copied))))
    }

    pub(crate) fn move_messages(
        &mut self,
        numbering: Numbering,
        set: &MessageSet,
        mailbox: &str,
    ) -> Result<Reply, Stop> {
        self.check_writable_account()?;
        let from = self.writable()?.mailbox;
        let uids = self.sources(numbering, set)?;
        let to = self.target(mailbox)?;
        if uids.is_empty() {
            return Ok(Reply::ok("MOVE completed, no message has such a UID"));
        }
        let Self { store, connection, progress, origin, .. } = self;
        let mut tell = |done| {
            if let Some(progress) = progress.as_mut() {
                let _ = progress.report(connection, done, uids.len());
            }
        };
        let moved = store.move_telling(from, &uids, to, *origin, &mut tell).map_err(target_error)?;
        self.drop_forbidden_flags(to, &moved)?;
        // COPYUID comes before the EXPUNGE responses (RFC 6851 §4.3).
        if !moved.pairs.is_empty() {
            let text = format!("{}messages moved", copy_uid(&moved));
            response::untagged(&mut self.connection.out, Status::Ok, &text);
        }
        Ok(Reply::ok("MOVE completed").behind_expunged(!moved.pairs.is_empty()))
    }

    /// A guest's copies have no flags that it may not set there (RFC 4314 §4).
    fn drop_forbidden_flags(&self, to: MailboxId, copied: &Copied) -> Result<(), StoreError> {
        let scope = self.flag_scope(to)?;
        if scope.is_everything() || copied.pairs.is_empty() {
            return Ok(());
        }
        let uids: Vec<Uid> = copied.pairs.iter().map(|(_, target)| *target).collect();
        for slice in uids.chunks(500) {
            let none = FlagChange::ReplaceAmong(Flags::NONE, scope.rest());
            self.store.change_flags(to, slice, none, self.origin)?;
        }
        Ok(())
    }

    /// What COPY and MOVE are about. A client that counts messages already expunged is told before anything is done
    /// (RFC 2180 §4.4.1).
    pub(crate) fn sources(&mut self, numbering: Numbering, set: &MessageSet) -> Result<Vec<Uid>, Stop> {
        self.selected()?;
        self.absorb_changes()?;
        let places = self.selected()?.resolve(set, numbering)?;
        let places = self.within_limit(places);
        let selected = self.selected()?;
        let mut uids = selected.uids_at(&places);
        if numbering == Numbering::Sequence && uids.iter().any(|uid| selected.is_gone(*uid)) {
            return Err(some_were_expunged().into());
        }
        uids.retain(|uid| !selected.is_gone(*uid));
        Ok(uids)
    }

    /// EXPUNGE, and with a set UID EXPUNGE.
    pub(crate) fn expunge(&mut self, set: Option<&MessageSet>) -> Result<Reply, Stop> {
        let selected = self.writable()?;
        let mailbox = selected.mailbox;
        let only = match set {
            None => None,
            Some(set) => {
                let places = selected.resolve(set, Numbering::Uid)?;
                let places = self.within_limit(places);
                Some(self.selected()?.uids_at(&places))
            }
        };
        let removed = self.store.expunge(mailbox, only.as_deref(), self.origin)?;
        // They are told with the other changes.
        Ok(Reply::ok("EXPUNGE completed").behind_expunged(!removed.is_empty()))
    }
}

/// The target was there a moment ago.
fn target_error(error: StoreError) -> Stop {
    match error {
        StoreError::NoSuchMailbox => no_such_target().into(),
        error => error.into(),
    }
}

/// `[COPYUID validity sources targets] `, or nothing where nothing was copied (RFC 4315 §3). Both sets rise together,
/// so as sets they still pair up.
pub(crate) fn copy_uid(copied: &Copied) -> String {
    if copied.pairs.is_empty() {
        return String::new();
    }
    let (mut sources, mut targets) = (NumberSet::default(), NumberSet::default());
    for (source, target) in &copied.pairs {
        sources.push(source.value());
        targets.push(target.value());
    }
    let mut text = Vec::new();
    text.extend_from_slice(b"[COPYUID ");
    response::number(&mut text, u64::from(copied.uidvalidity.value()));
    text.push(b' ');
    response::number_set(&mut text, &sources);
    text.push(b' ');
    response::number_set(&mut text, &targets);
    text.extend_from_slice(b"] ");
    String::from_utf8(text).unwrap_or_default()
}
