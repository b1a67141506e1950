//! A session of another account, in the process of the mailboxes' owner: what it may do is what the owner's rights let
//! it (RFC 4314 §4), looked up anew for every command.
//!
//! Here every command has its place: one that is not about a shared mailbox is refused, and none is let through because
//! nobody thought of it.

use std::num::NonZeroU32;

use imapd::{Append, Command, Flag, StoreAction};
use store_lib::{
    FlagScope, Mailbox, MailboxId, MailboxName, Right, Rights, SEPARATOR, StoreError, SystemFlag,
};

use crate::End;
use crate::append::no_such_target;
use crate::mailboxes::normal_form;
use crate::reply::{Reply, Stop};
use crate::session::Session;
use crate::sharing::OTHER_USERS;

/// Whose session it is.
#[derive(Debug)]
pub(crate) struct Guest {
    account: NonZeroU32,
    /// `Other Users/owner/`: before every name that the guest says and is told.
    prefix: String,
}

impl Guest {
    /// `None`: the session is the owner's own.
    pub(crate) fn of(facts: &crate::Facts) -> Result<Option<Self>, End> {
        let sharing = &facts.sharing;
        let Some(account) = sharing.guest else { return Ok(None) };
        let (Some(neighbours), Some(own)) = (&sharing.neighbours, sharing.own) else {
            return Err(End::NoRights);
        };
        let names = neighbours.names_of(&[own]).map_err(|_| End::NoRights)?;
        let owner = names.into_iter().next().flatten().ok_or(End::NoRights)?;
        Ok(Some(Self { account, prefix: format!("{OTHER_USERS}{SEPARATOR}{owner}{SEPARATOR}") }))
    }
}

fn refused() -> Stop {
    Reply::no("[NOPERM] that is not for shared mailboxes").into()
}

fn no_right() -> Reply {
    Reply::no("[NOPERM] you have no right to do that")
}

impl Session {
    pub(crate) fn is_guest(&self) -> bool {
        self.guest.is_some()
    }

    /// What this session may do with a mailbox.
    pub(crate) fn rights(&self, mailbox: MailboxId) -> Result<Rights, StoreError> {
        match &self.guest {
            None => Ok(Rights::ALL),
            Some(guest) => self.read(|reader| reader.rights(mailbox, guest.account)),
        }
    }

    /// What the client calls a mailbox.
    pub(crate) fn shown_name(&self, mailbox: &Mailbox) -> String {
        match &self.guest {
            None => mailbox.name.to_string(),
            Some(guest) => format!("{}{}", guest.prefix, mailbox.name),
        }
    }

    /// A mailbox as the client sees it: what is the owner's own affair is not shown.
    pub(crate) fn as_shown(&self, mut mailbox: Mailbox) -> Result<Mailbox, StoreError> {
        if self.is_guest() {
            let name = MailboxName::parse(&self.shown_name(&mailbox));
            // Too long or too deep below the prefix: it cannot be named.
            mailbox.name = name.map_err(|_| StoreError::NoSuchMailbox)?;
            (mailbox.special_use, mailbox.subscribed) = (None, false);
        }
        Ok(mailbox)
    }

    /// Of all mailboxes those that the client may see, and whether it may read them.
    pub(crate) fn visible(&self, mailboxes: Vec<Mailbox>) -> Result<Vec<Mailbox>, StoreError> {
        if !self.is_guest() {
            return Ok(mailboxes);
        }
        let mut visible = Vec::new();
        for mailbox in mailboxes {
            if self.rights(mailbox.id)?.has(Right::Lookup)
                && let Ok(shown) = self.as_shown(mailbox)
            {
                visible.push(shown);
            }
        }
        Ok(visible)
    }

    /// Which flags this session may change in a mailbox.
    pub(crate) fn flag_scope(&self, mailbox: MailboxId) -> Result<FlagScope, StoreError> {
        Ok(FlagScope::of_rights(self.rights(mailbox)?))
    }

    /// Whether it may be told of the selected mailbox still.
    pub(crate) fn check_still_reads(&self) -> Result<(), End> {
        match &self.selected {
            Some(selected) if self.is_guest() => match self.rights(selected.mailbox) {
                Ok(rights) if rights.has(Right::Read) => Ok(()),
                Ok(_) | Err(_) => Err(End::NoRights),
            },
            Some(_) | None => Ok(()),
        }
    }

    /// A guest's command, before anything of it is done: names become the owner's, flags are those that it may change.
    pub(crate) fn admit(&self, command: &mut Command) -> Result<(), Stop> {
        let Some(guest) = &self.guest else { return Ok(()) };
        match command {
            Command::Noop
            | Command::Logout
            | Command::Enable(_)
            | Command::Unselect
            | Command::CancelUpdate(_) => Ok(()),
            Command::List(list) => {
                // Of subscriptions and annotations only the owner's are here.
                if list.selection.subscribed
                    || list.selection.special_use
                    || !list.returns.metadata.is_empty()
                {
                    return Err(refused());
                }
                Ok(())
            }
            Command::Check
            | Command::Idle
            | Command::Search { .. }
            | Command::Sort { .. }
            | Command::Thread { .. }
            | Command::Fetch { .. } => self.needs(&[Right::Read]),
            // Without the right to expunge it only leaves the mailbox (RFC 4314 §4).
            Command::Close => Ok(()),
            Command::Expunge(_) => self.needs(&[Right::Expunge]),
            Command::Store { action, flags, .. } => self.admit_flags(*action, flags),
            Command::Copy { mailbox, .. } => {
                self.needs(&[Right::Read])?;
                self.admit_target(guest, mailbox)
            }
            Command::Move { mailbox, .. } => {
                self.needs(&[Right::Read, Right::DeleteMessages, Right::Expunge])?;
                self.admit_target(guest, mailbox)
            }
            Command::Select { mailbox, .. }
            | Command::Examine { mailbox, .. }
            | Command::Status { mailbox, .. } => self.admit_name(guest, mailbox, Right::Read),
            Command::Delete(mailbox) => self.admit_name(guest, mailbox, Right::DeleteMailbox),
            Command::Create { mailbox, uses } => {
                if !uses.is_empty() {
                    return Err(Reply::no("[USEATTR] a shared mailbox has no special use").into());
                }
                self.admit_new(guest, mailbox)
            }
            Command::Rename { from, to } => {
                self.admit_name(guest, from, Right::DeleteMailbox)?;
                self.admit_below(from)?;
                self.admit_new(guest, to)
            }
            Command::Acl(acl) => {
                let right = match acl {
                    imapd::Acl::MyRights(_) => None,
                    imapd::Acl::Set { .. }
                    | imapd::Acl::Delete { .. }
                    | imapd::Acl::Get(_)
                    | imapd::Acl::ListRights { .. } => Some(Right::Administer),
                };
                match right {
                    Some(right) => self.admit_name(guest, acl.mailbox_mut(), right),
                    None => self.admit_any(guest, acl.mailbox_mut()),
                }
            }
            Command::Capability
            | Command::StartTls
            | Command::Authenticate { .. }
            | Command::Login { .. }
            | Command::Subscribe(_)
            | Command::Unsubscribe(_)
            | Command::Lsub { .. }
            | Command::Esearch { .. }
            | Command::GetMetadata(_)
            | Command::SetMetadata(_)
            | Command::Compress(_)
            | Command::GenUrlAuth(_)
            | Command::ResetKey { .. }
            | Command::UrlFetch(_)
            | Command::GetQuota(_)
            | Command::GetQuotaRoot(_)
            | Command::Id(_)
            | Command::Language(_)
            | Command::Namespace
            | Command::Notify(_) => Err(refused()),
        }
    }

    /// A guest's APPEND or REPLACE.
    pub(crate) fn admit_append(&self, append: &mut Append) -> Result<(), Stop> {
        let Some(guest) = &self.guest else { return Ok(()) };
        if append.replaces.is_some() {
            self.needs(&[Right::Read, Right::DeleteMessages, Right::Expunge])?;
        }
        self.admit_target(guest, &mut append.mailbox)
    }

    /// Those of an appended message's flags that may be set (RFC 4314 §4).
    pub(crate) fn allowed_flags(&self, mailbox: MailboxId, flags: &mut Vec<Flag>) -> Result<(), StoreError> {
        if self.is_guest() {
            let scope = self.flag_scope(mailbox)?;
            flags.retain(|flag| is_in(scope, flag));
        }
        Ok(())
    }

    /// Rights to the selected mailbox.
    fn needs(&self, rights: &[Right]) -> Result<(), Stop> {
        let Some(selected) = &self.selected else { return Err(Reply::bad("no mailbox is selected").into()) };
        let given = self.rights(selected.mailbox)?;
        if rights.iter().all(|right| given.has(*right)) { Ok(()) } else { Err(no_right().into()) }
    }

    /// STORE changes what it may, and says NO where that is nothing (RFC 4314 §4).
    fn admit_flags(&self, action: StoreAction, flags: &mut Vec<Flag>) -> Result<(), Stop> {
        let Some(selected) = &self.selected else { return Err(Reply::bad("no mailbox is selected").into()) };
        let scope = self.flag_scope(selected.mailbox)?;
        let before = flags.len();
        flags.retain(|flag| is_in(scope, flag));
        let may_none = !scope.seen && !scope.deleted && !scope.others;
        let may = match action {
            StoreAction::Replace => !may_none && (before == 0 || !flags.is_empty()),
            StoreAction::Add | StoreAction::Remove => !may_none && (before == 0 || !flags.is_empty()),
        };
        if may { Ok(()) } else { Err(no_right().into()) }
    }

    /// The owner's name of what the guest calls so.
    fn own_name(&self, guest: &Guest, asked: &mut String) -> Result<(), Stop> {
        let below = asked.strip_prefix(guest.prefix.as_str()).ok_or(StoreError::NoSuchMailbox)?;
        *asked = below.to_owned();
        Ok(())
    }

    /// A mailbox that is there, with a right to it. Who may not see it is told that it is not there (RFC 4314 §6).
    fn admit_name(&self, guest: &Guest, asked: &mut String, right: Right) -> Result<(), Stop> {
        self.own_name(guest, asked)?;
        let found = self.find(asked)?.ok_or(StoreError::NoSuchMailbox)?;
        let given = self.rights(found.id)?;
        match (given.has(right), given.has(Right::Lookup)) {
            (true, _) => Ok(()),
            (false, true) => Err(no_right().into()),
            (false, false) => Err(StoreError::NoSuchMailbox.into()),
        }
    }

    /// One with any right.
    fn admit_any(&self, guest: &Guest, asked: &mut String) -> Result<(), Stop> {
        self.own_name(guest, asked)?;
        let found = self.find(asked)?.ok_or(StoreError::NoSuchMailbox)?;
        if self.rights(found.id)?.is_empty() { Err(StoreError::NoSuchMailbox.into()) } else { Ok(()) }
    }

    /// One that messages are put in.
    fn admit_target(&self, guest: &Guest, asked: &mut String) -> Result<(), Stop> {
        match self.admit_name(guest, asked, Right::Insert) {
            Err(Stop::Reply(reply)) if reply == crate::reply::reply_for(&StoreError::NoSuchMailbox) => {
                Err(no_such_target().into())
            }
            other => other,
        }
    }

    /// A name for a new one: below a mailbox in which that may be done.
    fn admit_new(&self, guest: &Guest, asked: &mut String) -> Result<(), Stop> {
        self.own_name(guest, asked)?;
        let name = asked.strip_suffix(SEPARATOR).unwrap_or(asked);
        let mut above = crate::mailboxes::name(&normal_form(name))?.parent();
        while let Some(level) = above {
            if let Some(found) = self.read(|reader| reader.find(&level))? {
                let given = self.rights(found.id)?;
                return if given.has(Right::CreateMailboxes) { Ok(()) } else { Err(no_right().into()) };
            }
            above = level.parent();
        }
        Err(no_right().into())
    }

    /// What lies below a mailbox that is renamed goes along, and INBOX is nobody else's to rename.
    fn admit_below(&self, from: &str) -> Result<(), Stop> {
        let Some(found) = self.find(from)? else { return Ok(()) };
        if found.name.is_inbox() {
            return Err(no_right().into());
        }
        for mailbox in self.read(|reader| reader.mailboxes())? {
            let is_below = mailbox.name.below(&found.name).is_some();
            if is_below && !self.rights(mailbox.id)?.has(Right::DeleteMailbox) {
                return Err(no_right().into());
            }
        }
        Ok(())
    }
}

fn is_in(scope: FlagScope, flag: &Flag) -> bool {
    match flag {
        Flag::Seen => scope.has(SystemFlag::Seen),
        Flag::Deleted => scope.has(SystemFlag::Deleted),
        Flag::Answered | Flag::Flagged | Flag::Draft | Flag::Keyword(_) => scope.others,
    }
}
