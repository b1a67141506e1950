//! GETQUOTA and GETQUOTAROOT (RFC 9208). An account has one quota root, the empty one, where the admin has set a quota, and
//! none where not. Setting it is no user's business, and nobody else speaks IMAP: there is no SETQUOTA.

use std::ops::ControlFlow;

use imapd::response;
use store_lib::{Columns, Mailbox, Quota, StoreError, SystemFlag, Uid, Usage};

use crate::mailboxes::name;
use crate::reply::{Reply, Stop};
use crate::session::Session;

/// The unit of STORAGE (RFC 9208 §5.1).
const STORAGE_UNIT: u64 = 1024;

/// The one quota root.
const ROOT: &[u8] = b"";

impl Session {
    pub(crate) fn get_quota(&mut self, root: &[u8]) -> Result<Reply, Stop> {
        if root != ROOT || self.store.quota() == Quota::default() {
            return Err(Reply::no("[NONEXISTENT] no such quota root").into());
        }
        self.write_quota()?;
        Ok(Reply::ok("GETQUOTA completed"))
    }

    /// Of mailboxes that are not there too (RFC 9208 §4.1.3).
    pub(crate) fn get_quota_root(&mut self, mailbox: &str) -> Result<Reply, Stop> {
        let asked = name(mailbox)?;
        let out = &mut self.connection.out;
        out.extend_from_slice(b"* QUOTAROOT ");
        response::mailbox(out, asked.as_str(), self.names);
        if self.store.quota() == Quota::default() {
            out.extend_from_slice(b"\r\n");
        } else {
            out.push(b' ');
            response::astring(out, ROOT);
            out.extend_from_slice(b"\r\n");
            self.write_quota()?;
        }
        Ok(Reply::ok("GETQUOTAROOT completed"))
    }

    /// Whether a message of so many octets fits: a client that waits for the answer need not send it. It is looked at again
    /// when it is filed.
    pub(crate) fn check_room(&self, size: u64) -> Result<(), StoreError> {
        let quota = self.store.quota();
        if quota == Quota::default() {
            return Ok(());
        }
        let used = self.read(|reader| reader.usage())?;
        let then = Usage { octets: used.octets.saturating_add(size), messages: used.messages + 1 };
        if then.exceeds(quota) { Err(StoreError::OverQuota) } else { Ok(()) }
    }

    /// `* QUOTA "" (STORAGE used limit MESSAGE used limit)`
    fn write_quota(&mut self) -> Result<(), StoreError> {
        let Quota { octets, messages } = self.store.quota();
        let used = self.read(|reader| reader.usage())?;
        let out = &mut self.connection.out;
        out.extend_from_slice(b"* QUOTA ");
        response::astring(out, ROOT);
        let resources = [
            // What is used rounded up: who is at the limit sees it.
            octets.map(|most| ("STORAGE", used.octets.div_ceil(STORAGE_UNIT), most / STORAGE_UNIT)),
            messages.map(|most| ("MESSAGE", used.messages, most)),
        ];
        for (index, (resource, used, most)) in resources.into_iter().flatten().enumerate() {
            out.extend_from_slice(if index == 0 { b" (" } else { b" " });
            out.extend_from_slice(resource.as_bytes());
            out.push(b' ');
            response::number(out, used);
            out.push(b' ');
            response::number(out, most);
        }
        out.extend_from_slice(b")\r\n");
        Ok(())
    }

    /// STATUS's DELETED-STORAGE: what EXPUNGE would free, in units of STORAGE (RFC 9208 §4.1.4).
    pub(crate) fn deleted_storage(&self, mailbox: &Mailbox) -> Result<u64, StoreError> {
        let mut octets = 0;
        if mailbox.counts.deleted > 0 {
            self.read(|reader| {
                reader.fetch(mailbox.id, Uid::MIN..=Uid::MAX, Columns::Flags, |message| {
                    if message.flags.has(SystemFlag::Deleted) {
                        octets += message.size;
                    }
                    ControlFlow::Continue(())
                })
            })?;
        }
        Ok(octets.div_ceil(STORAGE_UNIT))
    }
}
