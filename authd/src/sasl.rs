//! The mechanisms' own steps: octets in, octets out. No clock, no directory, no connection.
//!
//! What a mechanism finds out is who wants to log in and either a password ([`plain`]) or a proof ([`scram`],
//! [`external`]). Whether that is right is judged elsewhere: by the directory's verifiers, behind the limits.

pub mod external;
pub mod plain;
pub mod scram;

/// Why a client's message is not taken. The client is told the same for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Not in the mechanism's form.
    #[error("not in the mechanism's form")]
    Form,
    /// To act for somebody else; the one thing that is told apart.
    #[error("for somebody else")]
    Proxy,
    /// The client did not choose -PLUS although it could bind the channel and was offered to: somebody in between took
    /// the offer away (RFC 5802 §6).
    #[error("a downgrade from -PLUS")]
    Downgrade,
    /// Another channel than the client's, another kind of binding, or one where there is none.
    #[error("not this channel's binding")]
    Binding,
    /// Not the nonce of this exchange.
    #[error("not this exchange's nonce")]
    Nonce,
}
