//! What is announced, in one place. A word stands here only when everything it promises is there.

use ipc_proto::capability::Capabilities;

/// After login, but for what depends on the configuration.
pub const SESSION: &str = "IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE NAMESPACE UIDPLUS MOVE IDLE \
    UNSELECT CHILDREN ESEARCH SEARCHRES LIST-EXTENDED LIST-STATUS SPECIAL-USE CREATE-SPECIAL-USE STATUS=SIZE \
    BINARY METADATA LIST-METADATA CONDSTORE QRESYNC UIDONLY WITHIN SORT SORT=DISPLAY ESORT \
    THREAD=ORDEREDSUBJECT THREAD=REFERENCES THREAD=REFS I18NLEVEL=1 SAVEDATE PREVIEW UTF8=ACCEPT LANGUAGE \
    MULTIAPPEND REPLACE CATENATE COMPRESS=DEFLATE QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE NOTIFY PARTIAL \
    INPROGRESS MULTISEARCH CONTEXT=SEARCH CONTEXT=SORT OBJECTID SEARCH=FUZZY FILTERS URLAUTH \
    URLAUTH=BINARY ACL RIGHTS=texk";

/// Messages that one command may be about (RFC 9738): as many as bound what it costs, more than clients that do not know
/// the limit ever ask for.
pub const MESSAGE_LIMIT: u32 = 1_000_000;

/// After login: sent by the front behind the login's OK, and by the session on CAPABILITY. `without`: what is switched off
/// for the account; `message`: octets that a message may have; `messages`: see [`MESSAGE_LIMIT`].
pub fn after_login(without: Capabilities, message: u64, messages: u32) -> String {
    let mut words: Vec<_> =
        SESSION.split(' ').filter(|word| !without.contains(word)).map(str::to_owned).collect();
    // The same for every mailbox (RFC 7889 §3).
    for (word, limit) in [("APPENDLIMIT", message), ("MESSAGELIMIT", u64::from(messages))] {
        if !without.contains(word) {
            words.push(format!("{word}={limit}"));
        }
    }
    words.join(" ")
}

/// Before login. Behind it: STARTTLS where TLS can be had, and either the mechanisms or [`LOGIN_DISABLED`].
pub const BEFORE_LOGIN: &str = "IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE";

/// Before login without TLS: no password, and no proof of one, travels in the clear (RFC 3501 §6.2.1, §6.2.3).
pub const LOGIN_DISABLED: &str = "LOGINDISABLED";
