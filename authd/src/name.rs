//! Names of accounts, and what people type to log in.

use std::fmt;

use mail_lib::address::Address;

/// The name of an account: 1 to 64 of a-z, 0-9, `.`, `-`, `_`, starting with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountName(String);

/// Not the name of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an account's name is 1 to 64 of a-z, 0-9, `.`, `-` and `_`, and starts with a letter or digit")]
pub struct NotAnAccountName;

impl AccountName {
    /// Capital letters become small ones. Only those of ASCII: the Kelvin sign is not a `k` here.
    pub fn parse(text: &str) -> Result<Self, NotAnAccountName> {
        let allowed = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-' | b'_');
        let starts = text.bytes().next().is_some_and(|octet| octet.is_ascii_alphanumeric());
        if starts && text.len() <= 64 && text.bytes().all(allowed) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(NotAnAccountName)
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What look-ups compare: the localpart in lower case, unquoted, and the domain. A domain has no `@`, so two addresses
/// never share a key.
#[must_use]
pub fn address_key(address: &Address) -> String {
    let mut key = address.localpart.folded();
    key.push('@');
    key.push_str(address.domain.as_str());
    key
}

/// The longest user name of a login, octets.
const MAX_TYPED: usize = 320;

/// What was typed as the user name of a login.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LoginName {
    /// An address, as [`address_key`] has it.
    Address(String),
    /// An account's name.
    Account(AccountName),
    /// Neither; kept to make the same work of it.
    Nobody(String),
}

impl LoginName {
    /// Whatever was typed is some name.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if let Ok(name) = AccountName::parse(text) {
            return Self::Account(name);
        }
        match Address::parse(text) {
            Ok(address) => Self::Address(address_key(&address)),
            Err(_) => Self::Nobody(text.to_lowercase()),
        }
    }

    /// As [`Self::parse`]; a name that is too long is nobody's, and is treated like anybody's.
    #[must_use]
    pub fn typed(text: &str) -> Self {
        Self::parse(if text.len() <= MAX_TYPED { text } else { "" })
    }

    /// What stands before the last `@`, or all of it.
    #[must_use]
    pub fn localpart(&self) -> &str {
        let text = self.folded();
        text.rsplit_once('@').map_or(text, |(localpart, _)| localpart)
    }

    /// The text that all spellings of this name share.
    #[must_use]
    pub fn folded(&self) -> &str {
        match self {
            Self::Address(text) | Self::Nobody(text) => text,
            Self::Account(name) => name.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_short_plain_names_are_account_names() {
        for (text, name) in [
            ("alice", Some("alice")),
            ("Alice.B-2_x", Some("alice.b-2_x")),
            ("9", Some("9")),
            ("", None),
            (".alice", None),
            ("-alice", None),
            ("al ice", None),
            ("al/ice", None),
            ("../1", None),
            ("alice\0", None),
            ("alice\r\n", None),
            ("ålice", None),
            ("\u{212a}", None),
            ("a@b", None),
            ("x' OR '1'='1", None),
        ] {
            assert_eq!(AccountName::parse(text).ok().as_ref().map(AccountName::as_str), name, "{text:?}");
        }
        assert!(AccountName::parse(&"a".repeat(64)).is_ok());
        assert!(AccountName::parse(&"a".repeat(65)).is_err());
    }

    #[test]
    fn what_was_typed_is_an_address_a_name_or_nobody() {
        for (text, name) in [
            ("Alice", LoginName::Account(AccountName("alice".into()))),
            ("Alice@Example.ORG", LoginName::Address("alice@example.org".into())),
            ("JÜRGEN@bücher.example", LoginName::Address("jürgen@xn--bcher-kva.example".into())),
            ("\"a B\"@x.org", LoginName::Address("a b@x.org".into())),
            ("@example.org", LoginName::Nobody("@example.org".into())),
            ("@*", LoginName::Nobody("@*".into())),
            ("", LoginName::Nobody(String::new())),
            ("A B", LoginName::Nobody("a b".into())),
        ] {
            assert_eq!(LoginName::parse(text), name, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_spelling_of_an_account_name_is_that_name(text in "[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}") {
            let name = AccountName::parse(&text).unwrap();
            prop_assert_eq!(AccountName::parse(&text.to_ascii_uppercase()), Ok(name.clone()));
            prop_assert_eq!(AccountName::parse(name.as_str()), Ok(name.clone()));
            prop_assert_eq!(LoginName::parse(&text), LoginName::Account(name));
        }

        #[test]
        fn every_spelling_of_an_address_is_that_address(
            localpart in "[a-zA-Z0-9äöüÄÖÜéÉ]{1,20}", domain in "[a-zA-Z]{1,10}(\\.[a-zA-Z]{2,5})?",
        ) {
            let key = |text: &str| Address::parse(text).map(|address| address_key(&address));
            let folded = key(&format!("{localpart}@{domain}")).unwrap();
            prop_assert_eq!(key(&format!("{}@{domain}", localpart.to_uppercase())), Ok(folded.clone()));
            prop_assert_eq!(key(&format!("{localpart}@{}", domain.to_uppercase())), Ok(folded.clone()));
            prop_assert_eq!(key(&format!("\"{localpart}\"@{domain}")), Ok(folded.clone()));
            prop_assert_eq!(key(&folded), Ok(folded.clone()));
        }

        #[test]
        fn folding_what_was_typed_twice_changes_nothing(text in "\\PC{0,40}") {
            let name = LoginName::parse(&text);
            if !matches!(name, LoginName::Address(_)) {
                let again = LoginName::parse(name.folded());
                prop_assert_eq!(again.folded(), name.folded());
            }
        }
    }
}
