//! SETACL, DELETEACL, GETACL, LISTRIGHTS and MYRIGHTS (RFC 4314 §3).

use std::num::NonZeroU32;

use imapd::{Acl, AclChange, response};
use store_lib::{Grantee, Mailbox, Right, Rights, RightsChange, StoreError};

use crate::reply::{Reply, Stop};
use crate::session::Session;
use crate::sharing::{Neighbours, Unavailable};

/// Everybody (RFC 4314 §3.1).
const ANYONE: &str = "anyone";

/// Whose rights a command is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Identifier {
    /// The account itself, which has all rights.
    Owner,
    Other(Grantee),
}

impl From<Unavailable> for Stop {
    fn from(error: Unavailable) -> Self {
        Reply::no(format!("[UNAVAILABLE] {error}")).into()
    }
}

impl Session {
    pub(crate) fn acl(&mut self, acl: &Acl) -> Result<Reply, Stop> {
        let mailbox = self.find(acl.mailbox())?.ok_or(StoreError::NoSuchMailbox)?;
        match acl {
            Acl::Set { identifier, how, rights, .. } => {
                self.check_writable_account()?;
                self.set_acl(&mailbox, identifier, *how, rights)
            }
            Acl::Delete { identifier, .. } => {
                self.check_writable_account()?;
                self.delete_acl(&mailbox, identifier)
            }
            Acl::Get(_) => self.get_acl(&mailbox),
            Acl::ListRights { identifier, .. } => self.list_rights(&mailbox, identifier),
            Acl::MyRights(_) => self.my_rights(&mailbox),
        }
    }

    fn set_acl(
        &mut self,
        mailbox: &Mailbox,
        identifier: &[u8],
        how: AclChange,
        letters: &[u8],
    ) -> Result<Reply, Stop> {
        // RFC 4314 §3.1: an unknown right is BAD.
        let rights = Rights::parse(letters).map_err(|error| Reply::bad(error.to_string()))?;
        let Identifier::Other(who) = self.identifier(identifier)? else {
            return Err(Reply::no("[CANNOT] the owner always has all rights").into());
        };
        let change = match how {
            AclChange::Replace => RightsChange::Replace(rights),
            AclChange::Add => RightsChange::Add(rights),
            AclChange::Remove => RightsChange::Remove(rights),
        };
        self.store.change_rights(mailbox.id, who, change)?;
        self.neighbours()?.shares_changed()?;
        Ok(Reply::ok("SETACL completed"))
    }

    fn delete_acl(&mut self, mailbox: &Mailbox, identifier: &[u8]) -> Result<Reply, Stop> {
        let Identifier::Other(who) = self.identifier(identifier)? else {
            return Err(Reply::no("[CANNOT] the owner always has all rights").into());
        };
        self.store.change_rights(mailbox.id, who, RightsChange::Replace(Rights::NONE))?;
        self.neighbours()?.shares_changed()?;
        Ok(Reply::ok("DELETEACL completed"))
    }

    /// `* ACL mailbox identifier rights …`, the owner first.
    fn get_acl(&mut self, mailbox: &Mailbox) -> Result<Reply, Stop> {
        let all = self.read(|reader| reader.acl(mailbox.id))?;
        let own = self.own()?;
        let mut numbers = vec![own];
        numbers.extend(all.iter().filter_map(|(who, _)| match who {
            Grantee::Anyone => None,
            Grantee::Account(number) => Some(*number),
        }));
        let mut names = self.neighbours()?.names_of(&numbers)?.into_iter();
        let owner = names.next().flatten().ok_or(Unavailable)?;
        let shown = self.shown_name(mailbox);
        let out = &mut self.connection.out;
        out.extend_from_slice(b"* ACL ");
        response::mailbox(out, &shown, self.names);
        write_entry(out, &owner, Rights::ALL);
        for (who, rights) in all {
            match who {
                Grantee::Anyone => write_entry(out, ANYONE, rights),
                // One that was removed since has no name, and nobody has its number.
                Grantee::Account(_) => {
                    if let Some(name) = names.next().flatten() {
                        write_entry(out, &name, rights);
                    }
                }
            }
        }
        out.extend_from_slice(b"\r\n");
        Ok(Reply::ok("GETACL completed"))
    }

    /// `* LISTRIGHTS mailbox identifier required optional …`: every right can be given by itself, but for those of RFC
    /// 2086, which stand for several.
    fn list_rights(&mut self, mailbox: &Mailbox, identifier: &[u8]) -> Result<Reply, Stop> {
        let whose = self.identifier(identifier)?;
        let shown = self.shown_name(mailbox);
        let out = &mut self.connection.out;
        out.extend_from_slice(b"* LISTRIGHTS ");
        response::mailbox(out, &shown, self.names);
        out.push(b' ');
        response::astring(out, identifier);
        out.push(b' ');
        match whose {
            Identifier::Owner => response::astring(out, Rights::ALL.to_string().as_bytes()),
            Identifier::Other(_) => {
                response::astring(out, b"");
                for letter in Right::ALL.into_iter().map(Right::letter).chain(['c', 'd']) {
                    out.push(b' ');
                    response::astring(out, letter.to_string().as_bytes());
                }
            }
        }
        out.extend_from_slice(b"\r\n");
        Ok(Reply::ok("LISTRIGHTS completed"))
    }

    fn my_rights(&mut self, mailbox: &Mailbox) -> Result<Reply, Stop> {
        let rights = self.rights(mailbox.id)?;
        let shown = self.shown_name(mailbox);
        let out = &mut self.connection.out;
        out.extend_from_slice(b"* MYRIGHTS ");
        response::mailbox(out, &shown, self.names);
        out.push(b' ');
        response::astring(out, rights.to_string().as_bytes());
        out.extend_from_slice(b"\r\n");
        Ok(Reply::ok("MYRIGHTS completed"))
    }

    /// Whom the client means. `-name`, which would take rights from what others give, is not for us (RFC 4314 §2 lets a
    /// server do without).
    fn identifier(&self, text: &[u8]) -> Result<Identifier, Stop> {
        if text == ANYONE.as_bytes() {
            return Ok(Identifier::Other(Grantee::Anyone));
        }
        if text.starts_with(b"-") {
            return Err(Reply::no("[CANNOT] there are no negative rights here").into());
        }
        let nobody = || Reply::no("[CANNOT] no account has that name");
        let name = std::str::from_utf8(text).map_err(|_| nobody())?;
        let number = self.neighbours()?.number_of(name)?.ok_or_else(nobody)?;
        Ok(if number == self.own()? {
            Identifier::Owner
        } else {
            Identifier::Other(Grantee::Account(number))
        })
    }

    pub(crate) fn neighbours(&self) -> Result<&dyn Neighbours, Unavailable> {
        self.facts.sharing.neighbours.as_deref().ok_or(Unavailable)
    }

    fn own(&self) -> Result<NonZeroU32, Unavailable> {
        self.facts.sharing.own.ok_or(Unavailable)
    }
}

fn write_entry(out: &mut Vec<u8>, name: &str, rights: Rights) {
    out.push(b' ');
    response::astring(out, name.as_bytes());
    out.push(b' ');
    response::astring(out, rights.to_string().as_bytes());
}
