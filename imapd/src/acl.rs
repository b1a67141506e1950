//! SETACL, DELETEACL, GETACL, LISTRIGHTS and MYRIGHTS (RFC 4314 §3).

use crate::cursor::{Cursor, SyntaxError};

/// Octets of an identifier, and of rights: the longest name of an account fits.
const TEXT_LIMIT: usize = 320;

/// One of them. Identifiers and rights are as the client wrote them, not yet checked in any way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acl {
    /// SETACL
    Set {
        /// Whose list is changed.
        mailbox: String,
        /// Whose rights.
        identifier: Vec<u8>,
        /// What is done with them.
        how: AclChange,
        /// Letters.
        rights: Vec<u8>,
    },
    /// DELETEACL
    Delete {
        /// Whose list is changed.
        mailbox: String,
        /// Whose rights.
        identifier: Vec<u8>,
    },
    /// GETACL
    Get(String),
    /// LISTRIGHTS
    ListRights {
        /// Which.
        mailbox: String,
        /// Whose rights.
        identifier: Vec<u8>,
    },
    /// MYRIGHTS
    MyRights(String),
}

/// What SETACL does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AclChange {
    /// These take the place of all that there were.
    Replace,
    /// `+`
    Add,
    /// `-`
    Remove,
}

impl Acl {
    pub(crate) const WORDS: [&[u8]; 5] = [b"SETACL", b"DELETEACL", b"GETACL", b"LISTRIGHTS", b"MYRIGHTS"];

    /// The mailbox that it is about.
    pub fn mailbox(&self) -> &str {
        match self {
            Self::Set { mailbox, .. }
            | Self::Delete { mailbox, .. }
            | Self::Get(mailbox)
            | Self::ListRights { mailbox, .. }
            | Self::MyRights(mailbox) => mailbox,
        }
    }

    /// The same, to be put another way.
    pub fn mailbox_mut(&mut self) -> &mut String {
        match self {
            Self::Set { mailbox, .. }
            | Self::Delete { mailbox, .. }
            | Self::Get(mailbox)
            | Self::ListRights { mailbox, .. }
            | Self::MyRights(mailbox) => mailbox,
        }
    }

    /// What stands behind the command's word, which is one of [`Self::WORDS`].
    pub(crate) fn parse(word: &[u8], cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let mailbox = cursor.mailbox()?;
        Ok(match word {
            b"GETACL" => Self::Get(mailbox),
            b"MYRIGHTS" => Self::MyRights(mailbox),
            b"DELETEACL" => Self::Delete { mailbox, identifier: identifier(cursor)? },
            b"LISTRIGHTS" => Self::ListRights { mailbox, identifier: identifier(cursor)? },
            _ => {
                let identifier = identifier(cursor)?;
                cursor.space()?;
                let text = cursor.astring()?;
                let (how, rights) = match text.as_ref() {
                    [b'+', rights @ ..] => (AclChange::Add, rights),
                    [b'-', rights @ ..] => (AclChange::Remove, rights),
                    rights => (AclChange::Replace, rights),
                };
                if rights.len() > TEXT_LIMIT {
                    return Err(SyntaxError::TooMany("rights"));
                }
                Self::Set { mailbox, identifier, how, rights: rights.to_vec() }
            }
        })
    }
}

fn identifier(cursor: &mut Cursor<'_>) -> Result<Vec<u8>, SyntaxError> {
    cursor.space()?;
    let identifier = cursor.astring()?.into_owned();
    if identifier.len() > TEXT_LIMIT {
        return Err(SyntaxError::TooMany("octets in an identifier"));
    }
    Ok(identifier)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, Tagged};
    use crate::mailbox_name::NameForm;

    fn parse(text: &str) -> Result<Acl, SyntaxError> {
        match Tagged::parse(format!("a1 {text}").as_bytes(), NameForm::default())?.command {
            Command::Acl(acl) => Ok(acl),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_commands_of_rfc_4314_are_read() {
        let set = |mailbox: &str, identifier: &[u8], how, rights: &[u8]| Acl::Set {
            mailbox: mailbox.to_owned(),
            identifier: identifier.to_vec(),
            how,
            rights: rights.to_vec(),
        };
        for (text, acl) in [
            (
                "SETACL INBOX/Drafts John lrQswicda",
                set("INBOX/Drafts", b"John", AclChange::Replace, b"lrQswicda"),
            ),
            ("setacl x \"David Smith\" +tx", set("x", b"David Smith", AclChange::Add, b"tx")),
            ("SETACL x a \"\"", set("x", b"a", AclChange::Replace, b"")),
            ("SETACL x -a -", set("x", b"-a", AclChange::Remove, b"")),
            ("GETACL INBOX", Acl::Get("INBOX".into())),
            ("MYRIGHTS \"Entw&APw-rfe\"", Acl::MyRights("Entwürfe".into())),
            (
                "DELETEACL x Fred@example.org",
                Acl::Delete { mailbox: "x".into(), identifier: b"Fred@example.org".into() },
            ),
            (
                "LISTRIGHTS ~/Mail/saved smith",
                Acl::ListRights { mailbox: "~/Mail/saved".into(), identifier: b"smith".into() },
            ),
        ] {
            assert_eq!(parse(text), Ok(acl), "{text}");
        }
    }

    #[test]
    fn what_is_none_of_them_is_refused() {
        let long = format!("DELETEACL x {}", "y".repeat(TEXT_LIMIT + 1));
        for text in [
            "SETACL x",
            "SETACL x y",
            "SETACL x y lr z",
            "DELETEACL x",
            "GETACL",
            "GETACL x y",
            "LISTRIGHTS x",
            "MYRIGHTS",
            "MYRIGHTS x y",
            &long,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
