//! Aliases, as the admin manages them: addresses whose mail goes to several accounts.

use bincode::{Decode, Encode};
use mail_lib::address::Address;

/// Members that an alias has at most.
pub const MAX_MEMBERS: usize = 1000;

/// What moxctl may ask authd about aliases. Lists are paged: at most [`crate::authd::PAGE`] entries that sort after `after`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum AliasRequest {
    /// A new one. Answered by `Done`.
    Add {
        /// Nobody's yet; its domain must exist.
        alias: Address,
        /// 1 to [`MAX_MEMBERS`] addresses that accounts have.
        members: Vec<Address>,
        /// What it does besides.
        options: AliasOptions,
    },
    /// Answered by `Done`.
    Remove(Address),
    /// A disabled alias takes no mail for now. Answered by `Done`.
    Disable(Address, bool),
    /// Changes what is given. Answered by `Done`.
    Set {
        /// Which.
        alias: Address,
        /// Who may post.
        post: Option<Post>,
        /// See [`AliasOptions`].
        list_members: Option<bool>,
        /// See [`AliasOptions`].
        from: Option<bool>,
    },
    /// Further members; those that it has are no error. Answered by `Done`.
    MemberAdd {
        /// To which.
        alias: Address,
        /// Addresses that accounts have.
        members: Vec<Address>,
    },
    /// All of them go, or none when one is not a member or none would be left. Answered by `Done`.
    MemberRemove {
        /// Of which.
        alias: Address,
        /// Who.
        members: Vec<Address>,
    },
    /// Answered by `Aliases`.
    List {
        /// The last alias of the page before.
        after: Option<Address>,
    },
    /// Answered by `Members`.
    Members {
        /// Whose.
        alias: Address,
        /// The last member of the page before.
        after: Option<Address>,
    },
}

impl AliasRequest {
    /// It changes nothing.
    #[must_use]
    pub const fn only_looks(&self) -> bool {
        match self {
            Self::List { .. } | Self::Members { .. } => true,
            Self::Add { .. }
            | Self::Remove(_)
            | Self::Disable(..)
            | Self::Set { .. }
            | Self::MemberAdd { .. }
            | Self::MemberRemove { .. } => false,
        }
    }
}

/// Who may send mail to an alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Post {
    /// Its members, by their accounts' addresses in the reverse-path.
    Members,
    /// Everybody.
    Anyone,
}

/// What an alias does besides passing mail on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct AliasOptions {
    /// Who may post.
    pub post: Post,
    /// Members may see who the others are.
    pub list_members: bool,
    /// Members may send with the alias as the sender.
    pub from: bool,
}

/// One alias.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AliasInfo {
    /// Its address.
    pub alias: Address,
    /// What it does besides.
    pub options: AliasOptions,
    /// Takes no mail.
    pub disabled: bool,
    /// How many members it has.
    pub members: u32,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct MemberInfo {
    /// Its address.
    pub address: Address,
    /// The name of the account that has it.
    pub account: String,
    /// The address, its domain or its account is disabled: mail to the alias does not reach it.
    pub disabled: bool,
}
