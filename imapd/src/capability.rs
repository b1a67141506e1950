//! What is announced, in one place. A word stands here only when everything it promises is there.

/// After login: sent by the front behind the login's OK, and by the session on CAPABILITY.
pub const SESSION: &str =
    "IMAP4rev1 LITERAL+ SASL-IR ID NAMESPACE UIDPLUS MOVE IDLE UNSELECT CHILDREN SPECIAL-USE";

/// Before login, under TLS. AUTH words appear only here: a password never travels in the clear.
pub const BEFORE_LOGIN: &str = "IMAP4rev1 LITERAL+ SASL-IR ID AUTH=PLAIN";

/// Before login without TLS, where TLS can be had (RFC 3501 §6.2.1, §6.2.3).
pub const BEFORE_LOGIN_STARTTLS: &str = "IMAP4rev1 LITERAL+ SASL-IR ID STARTTLS LOGINDISABLED";

/// Before login without TLS, where TLS cannot be had: nobody can log in.
pub const BEFORE_LOGIN_PLAIN: &str = "IMAP4rev1 LITERAL+ SASL-IR ID LOGINDISABLED";
