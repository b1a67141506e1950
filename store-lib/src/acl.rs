//! Who else may do what with a mailbox (RFC 4314): rights, and whose they are.
//!
//! The account's owner always has all of them, so no row says so. Other accounts are known by their numbers, which are
//! never given twice: a name that comes again inherits nothing.

use std::fmt;
use std::num::NonZeroU32;

use rusqlite::Connection;

use crate::{Flags, MailboxId, Reader, StoreError, SystemFlag};

/// Rows of one mailbox.
const MAX_OF_MAILBOX: i64 = 100;
/// Rows of one account.
const MAX_OF_ACCOUNT: i64 = 1_000;

pub(crate) const MIGRATION: &str = "
    -- What others may do with a mailbox; who 0 is every account of this instance.
    CREATE TABLE acl (
        mailbox INTEGER NOT NULL,
        who INTEGER NOT NULL,
        rights INTEGER NOT NULL,
        PRIMARY KEY (mailbox, who)
    ) WITHOUT ROWID, STRICT;
";

/// Whose rights they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Grantee {
    /// Every account of this instance.
    Anyone,
    /// The account of this number.
    Account(NonZeroU32),
}

impl Grantee {
    fn column(self) -> i64 {
        match self {
            Self::Anyone => 0,
            Self::Account(number) => i64::from(number.get()),
        }
    }

    fn from_column(column: i64) -> Result<Self, StoreError> {
        let damaged = || StoreError::damaged("acl row of nobody");
        let number = u32::try_from(column).map_err(|_| damaged())?;
        Ok(NonZeroU32::new(number).map_or(Self::Anyone, Self::Account))
    }
}

/// One right (RFC 4314 §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// `l`: the mailbox is seen in LIST.
    Lookup,
    /// `r`: it can be selected, fetched, searched and copied from.
    Read,
    /// `s`: `\Seen` can be changed.
    Seen,
    /// `w`: flags other than `\Seen` and `\Deleted` can be changed.
    Write,
    /// `i`: messages can be put in.
    Insert,
    /// `p`: mail can be posted to it. Nothing here asks for it.
    Post,
    /// `k`: mailboxes can be made below it.
    CreateMailboxes,
    /// `x`: it can be deleted or renamed.
    DeleteMailbox,
    /// `t`: `\Deleted` can be changed.
    DeleteMessages,
    /// `e`: messages can be expunged.
    Expunge,
    /// `a`: its rights can be seen and changed.
    Administer,
}

/// A set of rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights(u16);

/// How SETACL changes rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RightsChange {
    /// To these and no others.
    Replace(Rights),
    /// These as well.
    Add(Rights),
    /// These no more.
    Remove(Rights),
}

/// A letter that is no right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such right as `{}`", char::from(*.0).escape_default())]
pub struct NoSuchRight(pub u8);

impl Right {
    /// In the order in which they are told.
    pub const ALL: [Self; 11] = [
        Self::Lookup,
        Self::Read,
        Self::Seen,
        Self::Write,
        Self::Insert,
        Self::Post,
        Self::CreateMailboxes,
        Self::DeleteMailbox,
        Self::DeleteMessages,
        Self::Expunge,
        Self::Administer,
    ];

    /// Its letter.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Lookup => 'l',
            Self::Read => 'r',
            Self::Seen => 's',
            Self::Write => 'w',
            Self::Insert => 'i',
            Self::Post => 'p',
            Self::CreateMailboxes => 'k',
            Self::DeleteMailbox => 'x',
            Self::DeleteMessages => 't',
            Self::Expunge => 'e',
            Self::Administer => 'a',
        }
    }

    /// Stored: never renumber.
    fn bit(self) -> u16 {
        1 << match self {
            Self::Lookup => 0,
            Self::Read => 1,
            Self::Seen => 2,
            Self::Write => 3,
            Self::Insert => 4,
            Self::Post => 5,
            Self::CreateMailboxes => 6,
            Self::DeleteMailbox => 7,
            Self::DeleteMessages => 8,
            Self::Expunge => 9,
            Self::Administer => 10,
        }
    }
}

impl Rights {
    /// None at all.
    pub const NONE: Self = Self(0);

    /// What an owner has.
    pub const ALL: Self = Self((1 << Right::ALL.len()) - 1);

    /// Letters of a client; `c` and `d` of RFC 2086 stand for what took their place (RFC 4314 §2.1.1).
    pub fn parse(letters: &[u8]) -> Result<Self, NoSuchRight> {
        let mut rights = Self::NONE;
        for letter in letters {
            rights = rights.union(match letter {
                b'c' => Self::CREATE,
                b'd' => Self::DELETE,
                letter => {
                    let right = Right::ALL.into_iter().find(|right| right.letter() == char::from(*letter));
                    Self::NONE.with(right.ok_or(NoSuchRight(*letter))?)
                }
            });
        }
        Ok(rights)
    }

    /// RFC 2086's `c`.
    const CREATE: Self = Self(1 << 6 | 1 << 7);
    /// RFC 2086's `d`.
    const DELETE: Self = Self(1 << 8 | 1 << 9);

    /// This one as well.
    #[must_use]
    pub fn with(self, right: Right) -> Self {
        Self(self.0 | right.bit())
    }

    /// Whether this one is among them.
    #[must_use]
    pub fn has(self, right: Right) -> bool {
        self.0 & right.bit() != 0
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    /// Those of both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that the other has not.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// After a change.
    #[must_use]
    pub fn changed(self, change: RightsChange) -> Self {
        match change {
            RightsChange::Replace(rights) => rights,
            RightsChange::Add(rights) => self.union(rights),
            RightsChange::Remove(rights) => self.without(rights),
        }
    }
}

/// Which flags somebody's rights let them change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlagScope {
    /// `\Seen`.
    pub seen: bool,
    /// `\Deleted`.
    pub deleted: bool,
    /// All others, keywords too.
    pub others: bool,
}

impl FlagScope {
    /// Of these rights.
    #[must_use]
    pub fn of_rights(rights: Rights) -> Self {
        Self {
            seen: rights.has(Right::Seen),
            deleted: rights.has(Right::DeleteMessages),
            others: rights.has(Right::Write),
        }
    }

    /// Whether it is all of them.
    #[must_use]
    pub fn is_everything(self) -> bool {
        self.seen && self.deleted && self.others
    }

    /// What the others are.
    #[must_use]
    pub fn rest(self) -> Self {
        Self { seen: !self.seen, deleted: !self.deleted, others: !self.others }
    }

    /// Whether this one is among them.
    #[must_use]
    pub fn has(self, flag: SystemFlag) -> bool {
        match flag {
            SystemFlag::Seen => self.seen,
            SystemFlag::Deleted => self.deleted,
            SystemFlag::Answered | SystemFlag::Flagged | SystemFlag::Draft => self.others,
        }
    }

    /// Those of `flags` that are among them.
    #[must_use]
    pub fn of(self, flags: &Flags) -> Flags {
        let mut found = if self.others { flags.clone() } else { Flags::NONE };
        for flag in SystemFlag::ALL {
            let none = Flags::NONE.with(flag);
            match (self.has(flag), flags.has(flag)) {
                (true, true) => found = found.with(flag),
                (false, _) => found.remove(&none),
                (true, false) => {}
            }
        }
        found
    }
}

/// As a client is told them: with `c` and `d` where any of what they stand for is there (RFC 4314 §2.1.1).
impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for right in Right::ALL {
            if self.has(right) {
                write!(f, "{}", right.letter())?;
            }
        }
        for (letter, stands_for) in [('c', Self::CREATE), ('d', Self::DELETE)] {
            if self.0 & stands_for.0 != 0 {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

impl Reader<'_> {
    /// All rights that others have to a mailbox.
    pub fn acl(&self, mailbox: MailboxId) -> Result<Vec<(Grantee, Rights)>, StoreError> {
        let sql = "SELECT who, rights FROM acl WHERE mailbox = ?1 ORDER BY who";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([mailbox.0])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push((Grantee::from_column(row.get(0)?)?, rights(row.get(1)?)?));
        }
        Ok(all)
    }

    /// What an account may do with a mailbox: what everybody may, and what it may itself.
    pub fn rights(&self, mailbox: MailboxId, account: NonZeroU32) -> Result<Rights, StoreError> {
        let own = |who| matches!(who, Grantee::Anyone) || who == Grantee::Account(account);
        let all = self.acl(mailbox)?.into_iter().filter(|(who, _)| own(*who));
        Ok(all.fold(Rights::NONE, |sum, (_, rights)| sum.union(rights)))
    }

    /// Everybody who has a right to any mailbox of this account.
    pub fn grantees(&self) -> Result<Vec<Grantee>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT DISTINCT who FROM acl ORDER BY who")?;
        let mut rows = statement.query(())?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(Grantee::from_column(row.get(0)?)?);
        }
        Ok(all)
    }
}

fn rights(column: i64) -> Result<Rights, StoreError> {
    let found = u16::try_from(column).map(Rights).ok().filter(|found| found.without(Rights::ALL).is_empty());
    found.ok_or_else(|| StoreError::damaged("acl row with a bad right"))
}

/// Rights as they are stored.
pub(crate) fn column(rights: Rights) -> i64 {
    i64::from(rights.0)
}

/// Whose they are, as it is stored.
pub(crate) fn who(grantee: Grantee) -> i64 {
    grantee.column()
}

/// What an account has to a mailbox, by rows of its own.
pub(crate) fn of(connection: &Connection, mailbox: MailboxId, who: Grantee) -> Result<Rights, StoreError> {
    let sql = "SELECT rights FROM acl WHERE mailbox = ?1 AND who = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query((mailbox.0, who.column()))?;
    rows.next()?.map_or(Ok(Rights::NONE), |row| rights(row.get(0)?))
}

/// Whether what was set is within the bounds.
pub(crate) fn check_bounds(connection: &Connection, mailbox: MailboxId) -> Result<(), StoreError> {
    let sql = "SELECT (SELECT count(*) FROM acl WHERE mailbox = ?1) <= ?2 AND count(*) <= ?3 FROM acl";
    let bounds = (mailbox.0, MAX_OF_MAILBOX, MAX_OF_ACCOUNT);
    match connection.prepare_cached(sql)?.query_row(bounds, |row| row.get(0))? {
        true => Ok(()),
        false => Err(StoreError::TooMany("rights")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_come_back_with_those_of_rfc_2086() {
        for (letters, told) in [
            ("", ""),
            ("lr", "lr"),
            ("rl", "lr"),
            ("c", "kxc"),
            ("d", "ted"),
            ("k", "kc"),
            ("e", "ed"),
            ("lrswipcda", "lrswipkxteacd"),
            ("lrswipkxtea", "lrswipkxteacd"),
        ] {
            assert_eq!(Rights::parse(letters.as_bytes()).unwrap().to_string(), told, "{letters}");
        }
        assert_eq!(Rights::parse(b"lrswipkxtea"), Ok(Rights::ALL));
        for letter in [b'z', b'L', b'0', b' ', 0xc3] {
            assert_eq!(Rights::parse(&[b'l', letter]), Err(NoSuchRight(letter)));
        }
    }

    #[test]
    fn every_right_has_a_bit_and_a_letter_of_its_own() {
        for (place, right) in Right::ALL.into_iter().enumerate() {
            assert_eq!(right.bit(), 1 << place);
            assert_eq!(Rights::parse(&[right.letter() as u8]), Ok(Rights::NONE.with(right)));
        }
    }

    #[test]
    fn changes_add_up() {
        let rights = |letters: &str| Rights::parse(letters.as_bytes()).unwrap();
        for (before, change, after) in [
            ("lr", RightsChange::Replace(rights("i")), "i"),
            ("lr", RightsChange::Add(rights("ri")), "lri"),
            ("lr", RightsChange::Remove(rights("ri")), "l"),
            ("te", RightsChange::Remove(rights("d")), ""),
            ("lx", RightsChange::Remove(rights("c")), "l"),
        ] {
            assert_eq!(rights(before).changed(change), rights(after), "{before} {change:?}");
        }
    }
}
