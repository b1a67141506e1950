//! Mail from elsewhere: many messages in one commit, each of them once however often its source is read, and with the
//! source's UIDs where the mailbox never had a message.

use std::sync::{Arc, mpsc};

use crate::files::KeptFile;
use crate::writer::{Outcome, Rank, SLICE};
use crate::{
    Flags, MailboxId, MailboxName, Origin, Reader, SpecialUse, Staged, Store, StoreError, Uid, UnixSeconds,
};

/// Names one message of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImportKey(pub [u8; 16]);

/// Where imported messages go, and where they come from.
#[derive(Debug, Clone)]
pub struct ImportTarget {
    /// Made if it is missing.
    pub mailbox: MailboxName,
    /// Names the mailbox of the source.
    pub source: String,
    /// Given to the mailbox, unless it has one, or another one that ever had a message has this one.
    pub special_use: Option<SpecialUse>,
    /// Subscribe to it.
    pub subscribed: bool,
    /// UIDVALIDITY and UIDNEXT of the source.
    pub uids: Option<(u32, u32)>,
}

/// An import under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Import {
    pub(crate) source: i64,
    pub(crate) mailbox: MailboxId,
    /// UIDs below this one are the source's.
    pub(crate) uid_limit: Option<u32>,
}

impl Import {
    /// The mailbox that messages go to.
    #[must_use]
    pub fn mailbox(&self) -> MailboxId {
        self.mailbox
    }

    /// Whether messages get the UIDs of the source.
    #[must_use]
    pub fn keeps_uids(&self) -> bool {
        self.uid_limit.is_some()
    }
}

/// One message to be imported.
#[derive(Debug)]
pub struct ImportMessage {
    /// A repeat of a key files nothing.
    pub key: ImportKey,
    /// The octets.
    pub staged: Staged,
    /// To begin with. Keywords for which the mailbox has no room are left out.
    pub flags: Flags,
    /// INTERNALDATE.
    pub received: UnixSeconds,
    /// The source's.
    pub uid: Option<Uid>,
}

/// What became of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imported {
    /// It has this UID.
    Filed {
        /// In the mailbox.
        uid: Uid,
        /// The one that was asked for, or none was.
        as_asked: bool,
    },
    /// This key was imported before.
    Known,
}

impl Store {
    /// Makes ready to import. A mailbox that never had a message takes on the source's UIDVALIDITY, and leaves the UIDs up
    /// to the source's UIDNEXT and some more to it: mail that comes meanwhile gets UIDs above.
    pub fn begin_import(&self, target: ImportTarget) -> Result<Import, StoreError> {
        self.session(SLICE, move |transaction| transaction.begin_import(&target))
    }

    /// Forgets which messages came from the source, so that all come again.
    pub fn forget_imported(&self, import: Import) -> Result<(), StoreError> {
        while self.session(SLICE, move |transaction| transaction.forget_imported(import))? {}
        Ok(())
    }

    /// Files messages, at most as many as make a slice, in one commit: all, or after an `Err` none.
    pub fn import(
        &self,
        import: Import,
        messages: Vec<ImportMessage>,
        origin: Origin,
    ) -> Result<Vec<Imported>, StoreError> {
        let files: Vec<Option<Arc<KeptFile>>> =
            messages.iter().map(|message| message.staged.kept_file()).collect();
        let (send, receive) = mpsc::sync_channel(1);
        self.queue_job(
            Rank::Session { messages: messages.len() },
            move |transaction| transaction.import(import, &messages, origin),
            move |result: Result<Vec<Imported>, StoreError>, outcome| {
                for (place, file) in files.into_iter().enumerate() {
                    let named = match &result {
                        Ok(imported) => matches!(imported.get(place), Some(Imported::Filed { .. })),
                        Err(_) => matches!(outcome, Outcome::Unknown(_)),
                    };
                    if let Some(file) = file.filter(|_| named) {
                        file.keep();
                    }
                }
                let _ = send.send(result);
            },
        );
        receive.recv().unwrap_or(Err(StoreError::Closed))
    }
}

impl Reader<'_> {
    /// Whether this message came before.
    pub fn is_imported(&self, import: Import, key: ImportKey) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM imported WHERE source = ?1 AND key = ?2)";
        Ok(self.connection.prepare_cached(sql)?.query_row((import.source, key.0), |row| row.get(0))?)
    }

    /// The keys of what came before, rising, at most `most`.
    pub fn imported(
        &self,
        import: Import,
        after: Option<ImportKey>,
        most: u32,
    ) -> Result<Vec<ImportKey>, StoreError> {
        let sql = "SELECT key FROM imported WHERE source = ?1 AND key > ?2 ORDER BY key LIMIT ?3";
        let mut statement = self.connection.prepare_cached(sql)?;
        let after = after.map(|key| key.0.to_vec()).unwrap_or_default();
        let mut rows = statement.query((import.source, after, most))?;
        let mut keys = Vec::new();
        while let Some(row) = rows.next()? {
            keys.push(ImportKey(row.get(0)?));
        }
        Ok(keys)
    }
}
