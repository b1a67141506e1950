//! What is announced, in one place. A word stands here only when everything it promises is there.

/// After login, but for what depends on the configuration.
pub const SESSION: &str = "IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE NAMESPACE UIDPLUS MOVE IDLE UNSELECT \
    CHILDREN ESEARCH SEARCHRES LIST-EXTENDED LIST-STATUS SPECIAL-USE CREATE-SPECIAL-USE STATUS=SIZE BINARY \
    METADATA LIST-METADATA CONDSTORE QRESYNC UIDONLY WITHIN SORT SORT=DISPLAY ESORT THREAD=ORDEREDSUBJECT \
    THREAD=REFERENCES THREAD=REFS I18NLEVEL=1";

/// Before login. Behind it: STARTTLS where TLS can be had, and either the mechanisms or [`LOGIN_DISABLED`].
pub const BEFORE_LOGIN: &str = "IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE";

/// Before login without TLS: no password, and no proof of one, travels in the clear (RFC 3501 §6.2.1, §6.2.3).
pub const LOGIN_DISABLED: &str = "LOGINDISABLED";
