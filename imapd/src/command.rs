//! The commands of IMAP4rev1, IMAP4rev2 and the extensions announced (RFC 3501 §6, RFC 9051 §6).

use crate::acl::Acl;
use crate::cursor::{Cursor, SyntaxError};
use crate::fetch::FetchItem;
use crate::flag::Flag;
use crate::list::List;
use crate::mailbox_name::NameForm;
use crate::metadata::{GetMetadata, SetMetadata};
use crate::multisearch::SearchSource;
use crate::notify::Notify;
use crate::sasl::{Secret, initial_response};
use crate::search::{SearchKey, SearchReturn};
use crate::sequence_set::MessageSet;
use crate::sort::SortCriterion;
use crate::status::StatusItem;
use crate::sync::{FetchModifiers, SelectParameters, parse_unchanged_since};
use crate::tag::Tag;
use crate::thread::ThreadAlgorithm;
use crate::urlauth::UrlFetch;

/// Pairs in one ID (RFC 2971 §3.3).
const ID_PAIR_LIMIT: usize = 30;
/// Words in one ENABLE, and attributes in one USE: every one there is fits many times.
const WORD_LIMIT: usize = 100;

/// A command and its tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    /// Echoed in the answer.
    pub tag: Tag,
    /// What to do.
    pub command: Command,
}

/// Whether a command counts messages by position or by UID (RFC 3501 §6.4.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbering {
    /// Message sequence numbers.
    Sequence,
    /// Unique identifiers.
    Uid,
}

/// What STORE does with the flags given (RFC 3501 §6.4.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreAction {
    /// FLAGS
    Replace,
    /// +FLAGS
    Add,
    /// -FLAGS
    Remove,
}

/// What ENABLE may turn on (RFC 5161).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// RFC 7162 §3.1.
    Condstore,
    /// RFC 9051 §6.3.1.
    Imap4Rev2,
    /// METADATA: what other sessions change of it is told (RFC 5464 §4.1).
    Metadata,
    /// RFC 7162 §3.2.3.
    Qresync,
    /// RFC 9586.
    UidOnly,
    /// RFC 6855 §3.
    Utf8Accept,
}

/// Every command but APPEND, which has its own event: [`crate::Append`]. In the order of RFC 3501 §6, then
/// the extensions'. Mailbox names are decoded to UTF-8 but otherwise as the client wrote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// CAPABILITY
    Capability,
    /// NOOP
    Noop,
    /// LOGOUT
    Logout,
    /// STARTTLS
    StartTls,
    /// AUTHENTICATE
    Authenticate {
        /// In upper case.
        mechanism: String,
        /// RFC 4959, decoded.
        initial: Option<Secret>,
    },
    /// LOGIN
    Login {
        /// Not yet checked in any way.
        user: Vec<u8>,
        /// Not yet checked in any way.
        password: Secret,
    },
    /// SELECT
    Select {
        /// The mailbox.
        mailbox: String,
        /// What else is asked for.
        parameters: SelectParameters,
    },
    /// EXAMINE
    Examine {
        /// The mailbox.
        mailbox: String,
        /// What else is asked for.
        parameters: SelectParameters,
    },
    /// ENABLE (RFC 5161), without what is not known here
    Enable(Vec<Extension>),
    /// CREATE
    Create {
        /// The mailbox.
        mailbox: String,
        /// USE (RFC 6154 §5.2): what it is to be for, with the backslash; empty for nothing special.
        uses: Vec<String>,
    },
    /// DELETE
    Delete(String),
    /// RENAME
    Rename {
        /// The mailbox.
        from: String,
        /// Its name from then on.
        to: String,
    },
    /// SUBSCRIBE
    Subscribe(String),
    /// UNSUBSCRIBE
    Unsubscribe(String),
    /// LIST
    List(List),
    /// LSUB
    Lsub {
        /// Stands before the pattern.
        reference: String,
        /// With `*` and `%`.
        pattern: String,
    },
    /// STATUS
    Status {
        /// Which.
        mailbox: String,
        /// What of it.
        items: Vec<StatusItem>,
    },
    /// CHECK
    Check,
    /// CLOSE
    Close,
    /// EXPUNGE; with a set, UID EXPUNGE (RFC 4315 §2.1)
    Expunge(Option<MessageSet>),
    /// SEARCH
    Search {
        /// What the answer counts.
        numbering: Numbering,
        /// RETURN (RFC 4731, RFC 5182), if it is there.
        results: Option<SearchReturn>,
        /// The condition.
        key: SearchKey,
    },
    /// CANCELUPDATE (RFC 5267 §4.3.5): tags of searches.
    CancelUpdate(Vec<Vec<u8>>),
    /// ESEARCH (RFC 7377)
    Esearch {
        /// Where.
        sources: Vec<SearchSource>,
        /// What to tell.
        results: SearchReturn,
        /// The condition.
        key: SearchKey,
    },
    /// SORT (RFC 5256 §3)
    Sort {
        /// What the answer counts.
        numbering: Numbering,
        /// RETURN (RFC 5267 §3), if it is there.
        results: Option<SearchReturn>,
        /// What to order by.
        criteria: Vec<SortCriterion>,
        /// The condition.
        key: SearchKey,
    },
    /// THREAD (RFC 5256 §3)
    Thread {
        /// What the answer counts.
        numbering: Numbering,
        /// How.
        algorithm: ThreadAlgorithm,
        /// The condition.
        key: SearchKey,
    },
    /// FETCH
    Fetch {
        /// What the set counts.
        numbering: Numbering,
        /// Which messages.
        set: MessageSet,
        /// What of them.
        items: Vec<FetchItem>,
        /// Of which of them.
        modifiers: FetchModifiers,
    },
    /// STORE
    Store {
        /// What the set counts.
        numbering: Numbering,
        /// Which messages.
        set: MessageSet,
        /// UNCHANGEDSINCE (RFC 7162 §3.1.3).
        unchanged_since: Option<u64>,
        /// What to do.
        action: StoreAction,
        /// .SILENT
        silent: bool,
        /// With these.
        flags: Vec<Flag>,
    },
    /// COPY
    Copy {
        /// What the set counts.
        numbering: Numbering,
        /// Which messages.
        set: MessageSet,
        /// Where to.
        mailbox: String,
    },
    /// MOVE (RFC 6851)
    Move {
        /// What the set counts.
        numbering: Numbering,
        /// Which messages.
        set: MessageSet,
        /// Where to.
        mailbox: String,
    },
    /// SETACL and its like (RFC 4314 §3)
    Acl(Acl),
    /// GETMETADATA (RFC 5464 §4.2)
    GetMetadata(GetMetadata),
    /// SETMETADATA (RFC 5464 §4.3)
    SetMetadata(SetMetadata),
    /// COMPRESS (RFC 4978): a mechanism, in upper case
    Compress(String),
    /// GETQUOTA of a quota root (RFC 9208 §4.1.2)
    GetQuota(Vec<u8>),
    /// GETQUOTAROOT of a mailbox (RFC 9208 §4.1.3)
    GetQuotaRoot(String),
    /// GENURLAUTH (RFC 4467 §7): URLs, not yet checked in any way, and mechanisms in upper case
    GenUrlAuth(Vec<(Vec<u8>, String)>),
    /// ID (RFC 2971): names and values, as the client wrote them.
    Id(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    /// IDLE (RFC 2177)
    Idle,
    /// LANGUAGE (RFC 5255 §3): language ranges, the best first; none to be told which there are
    Language(Vec<String>),
    /// NAMESPACE (RFC 2342)
    Namespace,
    /// NOTIFY (RFC 5465)
    Notify(Notify),
    /// RESETKEY (RFC 4467 §7): of one mailbox, or of all
    ResetKey {
        /// Which.
        mailbox: Option<String>,
        /// In upper case.
        mechanisms: Vec<String>,
    },
    /// UNSELECT (RFC 3691)
    Unselect,
    /// URLFETCH (RFC 4467 §7, RFC 5524)
    UrlFetch(Vec<UrlFetch>),
}

impl Extension {
    const ALL: [Self; 6] =
        [Self::Condstore, Self::Imap4Rev2, Self::Metadata, Self::Qresync, Self::UidOnly, Self::Utf8Accept];

    /// The wire form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Condstore => "CONDSTORE",
            Self::Imap4Rev2 => "IMAP4rev2",
            Self::Metadata => "METADATA",
            Self::Qresync => "QRESYNC",
            Self::UidOnly => "UIDONLY",
            Self::Utf8Accept => "UTF8=ACCEPT",
        }
    }

    fn from_word(word: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|extension| word.eq_ignore_ascii_case(extension.as_str().as_bytes()))
    }
}

impl Tagged {
    /// Reads one complete command without its final CRLF.
    pub(crate) fn parse(text: &[u8], names: NameForm) -> Result<Self, SyntaxError> {
        let mut cursor = Cursor::with_names(text, names);
        let tag = Tag::new(cursor.tag()?);
        cursor.space()?;
        let command = Command::parse(&mut cursor)?;
        cursor.end()?;
        Ok(Self { tag, command })
    }
}

impl Command {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let word = cursor.atom()?.to_ascii_uppercase();
        Ok(match word.as_slice() {
            b"CAPABILITY" => Self::Capability,
            b"NOOP" => Self::Noop,
            b"LOGOUT" => Self::Logout,
            b"STARTTLS" => Self::StartTls,
            b"CHECK" => Self::Check,
            b"CLOSE" => Self::Close,
            b"EXPUNGE" => Self::Expunge(None),
            b"IDLE" => Self::Idle,
            b"LANGUAGE" => Self::parse_language(cursor)?,
            b"NAMESPACE" => Self::Namespace,
            b"RESETKEY" => crate::urlauth::parse_reset(cursor)?,
            b"UNSELECT" => Self::Unselect,
            argument_follows => {
                let known: &[&[u8]] = &[
                    b"AUTHENTICATE",
                    b"LOGIN",
                    b"ENABLE",
                    b"SELECT",
                    b"EXAMINE",
                    b"CREATE",
                    b"DELETE",
                    b"RENAME",
                    b"SUBSCRIBE",
                    b"UNSUBSCRIBE",
                    b"LIST",
                    b"LSUB",
                    b"STATUS",
                    b"APPEND",
                    b"REPLACE",
                    b"SEARCH",
                    b"ESEARCH",
                    b"CANCELUPDATE",
                    b"SORT",
                    b"THREAD",
                    b"FETCH",
                    b"STORE",
                    b"COPY",
                    b"MOVE",
                    b"UID",
                    b"COMPRESS",
                    b"GENURLAUTH",
                    b"ID",
                    b"GETMETADATA",
                    b"GETQUOTA",
                    b"GETQUOTAROOT",
                    b"SETMETADATA",
                    b"NOTIFY",
                    b"URLFETCH",
                ];
                if !known.contains(&argument_follows) && !Acl::WORDS.contains(&argument_follows) {
                    return Err(SyntaxError::UnknownCommand);
                }
                cursor.space()?;
                Self::parse_arguments(argument_follows, cursor)?
            }
        })
    }

    fn parse_arguments(word: &[u8], cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        Ok(match word {
            b"AUTHENTICATE" => Self::parse_authenticate(cursor)?,
            b"LOGIN" => {
                let user = cursor.astring()?.into_owned();
                cursor.space()?;
                Self::Login { user, password: Secret::new(cursor.astring()?.into_owned()) }
            }
            b"SELECT" => {
                let mailbox = cursor.mailbox()?;
                Self::Select { mailbox, parameters: SelectParameters::parse(cursor)? }
            }
            b"EXAMINE" => {
                let mailbox = cursor.mailbox()?;
                Self::Examine { mailbox, parameters: SelectParameters::parse(cursor)? }
            }
            b"ENABLE" => Self::parse_enable(cursor)?,
            b"CREATE" => Self::parse_create(cursor)?,
            b"DELETE" => Self::Delete(cursor.mailbox()?),
            b"RENAME" => {
                let from = cursor.mailbox()?;
                cursor.space()?;
                Self::Rename { from, to: cursor.mailbox()? }
            }
            b"SUBSCRIBE" => Self::Subscribe(cursor.mailbox()?),
            b"UNSUBSCRIBE" => Self::Unsubscribe(cursor.mailbox()?),
            b"LIST" => Self::List(List::parse(cursor)?),
            b"LSUB" => {
                let reference = cursor.mailbox()?;
                cursor.space()?;
                Self::Lsub { reference, pattern: cursor.mailbox_pattern()? }
            }
            b"STATUS" => {
                let mailbox = cursor.mailbox()?;
                cursor.space()?;
                Self::Status { mailbox, items: StatusItem::parse_list(cursor)? }
            }
            // One that can be had never gets here: it has events of its own.
            b"APPEND" | b"REPLACE" => return Err(SyntaxError::Expected("the message as a literal")),
            b"COMPRESS" => Self::Compress(String::from_utf8_lossy(cursor.atom()?).to_ascii_uppercase()),
            b"CANCELUPDATE" => Self::parse_cancel_update(cursor)?,
            b"ESEARCH" => crate::multisearch::parse(cursor)?,
            b"GENURLAUTH" => crate::urlauth::parse_generate(cursor)?,
            b"ID" => Self::parse_id(cursor)?,
            b"GETQUOTA" => Self::GetQuota(cursor.astring()?.into_owned()),
            b"GETQUOTAROOT" => Self::GetQuotaRoot(cursor.mailbox()?),
            b"GETMETADATA" => Self::GetMetadata(GetMetadata::parse(cursor)?),
            b"SETMETADATA" => Self::SetMetadata(SetMetadata::parse(cursor)?),
            b"NOTIFY" => Self::Notify(Notify::parse(cursor)?),
            b"UID" => Self::parse_uid(cursor)?,
            b"URLFETCH" => crate::urlauth::parse_fetch(cursor)?,
            word if Acl::WORDS.contains(&word) => Self::Acl(Acl::parse(word, cursor)?),
            numbered => Self::parse_numbered(numbered, Numbering::Sequence, cursor)?,
        })
    }

    fn parse_uid(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let word = cursor.atom()?.to_ascii_uppercase();
        cursor.space()?;
        match word.as_slice() {
            b"EXPUNGE" => Ok(Self::Expunge(Some(MessageSet::parse(cursor)?))),
            word => Self::parse_numbered(word, Numbering::Uid, cursor),
        }
    }

    fn parse_numbered(
        word: &[u8],
        numbering: Numbering,
        cursor: &mut Cursor<'_>,
    ) -> Result<Self, SyntaxError> {
        if word == b"SEARCH" {
            let results = SearchReturn::parse(cursor)?;
            let key = SearchKey::parse_all(cursor)?;
            key.check_relevancy(results.is_some_and(|results| results.relevancy))?;
            return Ok(Self::Search { numbering, results, key });
        }
        if word == b"SORT" {
            return crate::sort::parse(numbering, cursor);
        }
        if word == b"THREAD" {
            return crate::thread::parse(numbering, cursor);
        }
        if ![&b"FETCH"[..], b"STORE", b"COPY", b"MOVE"].contains(&word) {
            return Err(SyntaxError::UnknownCommand);
        }
        let set = MessageSet::parse(cursor)?;
        cursor.space()?;
        Ok(match word {
            b"FETCH" => {
                let items = FetchItem::parse_all(cursor)?;
                let modifiers = FetchModifiers::parse(cursor)?;
                // RFC 7162 §3.2.6.
                if modifiers.vanished
                    && (numbering == Numbering::Sequence || modifiers.changed_since.is_none())
                {
                    return Err(SyntaxError::Expected("VANISHED only with UID FETCH and CHANGEDSINCE"));
                }
                if modifiers.partial.is_some() && numbering == Numbering::Sequence {
                    return Err(SyntaxError::Expected("PARTIAL only with UID FETCH"));
                }
                Self::Fetch { numbering, set, items, modifiers }
            }
            b"STORE" => {
                let unchanged_since = parse_unchanged_since(cursor)?;
                let (action, silent) = parse_store_action(cursor)?;
                cursor.space()?;
                let flags = Flag::parse_store_list(cursor)?;
                Self::Store { numbering, set, unchanged_since, action, silent, flags }
            }
            b"COPY" => Self::Copy { numbering, set, mailbox: cursor.mailbox()? },
            _ => Self::Move { numbering, set, mailbox: cursor.mailbox()? },
        })
    }

    fn parse_authenticate(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let mechanism = String::from_utf8_lossy(cursor.atom()?).to_ascii_uppercase();
        let mut initial = None;
        if cursor.accept(b' ') {
            let text = cursor.take_while(|octet| octet.is_ascii_alphanumeric() || b"+/=".contains(&octet));
            if text.is_empty() {
                return Err(SyntaxError::InitialResponse);
            }
            initial = Some(initial_response(text).map_err(|_| SyntaxError::InitialResponse)?);
        }
        Ok(Self::Authenticate { mechanism, initial })
    }

    fn parse_cancel_update(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let mut tags = vec![cursor.string()?.into_owned()];
        while cursor.accept(b' ') {
            if tags.len() >= WORD_LIMIT {
                return Err(SyntaxError::TooMany("tags"));
            }
            tags.push(cursor.string()?.into_owned());
        }
        Ok(Self::CancelUpdate(tags))
    }

    fn parse_enable(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let mut extensions = Vec::new();
        for _ in 0..WORD_LIMIT {
            // What is not known is passed over (RFC 5161 §3.1).
            let extension = Extension::from_word(cursor.atom()?);
            extensions.extend(extension.filter(|extension| !extensions.contains(extension)));
            if !cursor.accept(b' ') {
                return Ok(Self::Enable(extensions));
            }
        }
        Err(SyntaxError::TooMany("extensions"))
    }

    fn parse_language(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let mut ranges = Vec::new();
        while cursor.accept(b' ') {
            if ranges.len() >= WORD_LIMIT {
                return Err(SyntaxError::TooMany("languages"));
            }
            let range = cursor.astring()?;
            if !range.iter().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'*')) {
                return Err(SyntaxError::Expected("a language like en"));
            }
            ranges.push(String::from_utf8_lossy(&range).into_owned());
        }
        Ok(Self::Language(ranges))
    }

    fn parse_create(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let mailbox = cursor.mailbox()?;
        let mut uses = Vec::new();
        if cursor.accept(b' ') {
            cursor.expect(b'(', "`(USE (…))`")?;
            if !cursor.accept_word("USE") {
                return Err(SyntaxError::Expected("USE"));
            }
            cursor.space()?;
            uses = cursor.list_or_none(WORD_LIMIT, "uses", |cursor| {
                cursor.expect(b'\\', "an attribute like \\Sent")?;
                Ok(format!("\\{}", String::from_utf8_lossy(cursor.atom()?)))
            })?;
            cursor.expect(b')', "`)`")?;
        }
        Ok(Self::Create { mailbox, uses })
    }

    fn parse_id(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        if cursor.peek() != Some(b'(') {
            return match cursor.nstring()? {
                None => Ok(Self::Id(Vec::new())),
                Some(_) => Err(SyntaxError::Expected("a list or NIL")),
            };
        }
        let pairs = cursor.list_or_none(ID_PAIR_LIMIT, "ID fields", |cursor| {
            let name = cursor.string()?.into_owned();
            cursor.space()?;
            let value = cursor.nstring()?.map(std::borrow::Cow::into_owned);
            // RFC 2971 §3.3.
            if name.len() > 30 || value.as_ref().is_some_and(|value| value.len() > 1024) {
                return Err(SyntaxError::TooMany("octets in an ID field"));
            }
            Ok((name, value))
        })?;
        Ok(Self::Id(pairs))
    }
}

fn parse_store_action(cursor: &mut Cursor<'_>) -> Result<(StoreAction, bool), SyntaxError> {
    let action = if cursor.accept(b'+') {
        StoreAction::Add
    } else if cursor.accept(b'-') {
        StoreAction::Remove
    } else {
        StoreAction::Replace
    };
    let word = cursor.take_while(|octet| octet.is_ascii_alphabetic() || octet == b'.');
    if word.eq_ignore_ascii_case(b"FLAGS") {
        Ok((action, false))
    } else if word.eq_ignore_ascii_case(b"FLAGS.SILENT") {
        Ok((action, true))
    } else {
        Err(SyntaxError::Expected("FLAGS, +FLAGS or -FLAGS"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Command, SyntaxError> {
        Tagged::parse(format!("a1 {text}").as_bytes(), NameForm::default()).map(|tagged| tagged.command)
    }

    #[test]
    fn commands_are_read_whatever_their_case() {
        for (text, command) in [
            ("noop", Command::Noop),
            (
                "LoGin joe \"p w\"",
                Command::Login { user: b"joe".into(), password: Secret::new(b"p w".into()) },
            ),
            (
                "SELECT inbox",
                Command::Select { mailbox: "inbox".into(), parameters: SelectParameters::default() },
            ),
            ("CREATE \"Entw&APw-rfe\"", Command::Create { mailbox: "Entwürfe".into(), uses: Vec::new() }),
            (
                "create x (use (\\Sent \\drafts))",
                Command::Create { mailbox: "x".into(), uses: vec!["\\Sent".into(), "\\drafts".into()] },
            ),
            ("ENABLE COMPRESS imap4REV2 X-GOOD-IDEA", Command::Enable(vec![Extension::Imap4Rev2])),
            (
                "ENABLE QRESYNC condstore qresync",
                Command::Enable(vec![Extension::Qresync, Extension::Condstore]),
            ),
            ("ENABLE X", Command::Enable(Vec::new())),
            ("UID EXPUNGE $", Command::Expunge(Some(MessageSet::Saved))),
            ("RENAME a b/c", Command::Rename { from: "a".into(), to: "b/c".into() }),
            ("LIST \"\" %*", Command::List(List { patterns: vec!["%*".into()], ..List::default() })),
            (
                "LSUB \"#news.\" \"comp.*\"",
                Command::Lsub { reference: "#news.".into(), pattern: "comp.*".into() },
            ),
            (
                "STATUS blurdybloop (UIDNEXT MESSAGES)",
                Command::Status {
                    mailbox: "blurdybloop".into(),
                    items: vec![StatusItem::UidNext, StatusItem::Messages],
                },
            ),
            ("GETQUOTA \"\"", Command::GetQuota(Vec::new())),
            ("getquotaroot INBOX", Command::GetQuotaRoot("INBOX".into())),
            ("AUTHENTICATE plain", Command::Authenticate { mechanism: "PLAIN".into(), initial: None }),
            (
                "AUTHENTICATE PLAIN =",
                Command::Authenticate { mechanism: "PLAIN".into(), initial: Some(Secret::new(Vec::new())) },
            ),
            ("ID NIL", Command::Id(vec![])),
            ("NOTIFY none", Command::Notify(Notify::None)),
            (
                "ID (\"name\" \"x\" \"os\" NIL)",
                Command::Id(vec![(b"name".into(), Some(b"x".into())), (b"os".into(), None)]),
            ),
        ] {
            assert_eq!(parse(text), Ok(command), "{text}");
        }
    }

    #[test]
    fn malformed_commands_are_refused() {
        for (text, reason) in [
            ("", "no command"),
            ("XYZZY", "unknown"),
            ("NOOP ", "trailing space"),
            ("NOOP x", "trailing text"),
            ("LOGIN a", "missing argument"),
            ("LOGIN  a b", "two spaces"),
            ("SELECT", "missing argument"),
            ("SELECT a&b", "invalid modified UTF-7"),
            ("STATUS a ()", "empty list"),
            ("STATUS a (HIGHESTMODSEQS)", "no such item"),
            ("FETCH 1 FLAGS ()", "no modifier"),
            ("FETCH 1 FLAGS (CHANGEDSINCE)", "no mod-sequence"),
            ("FETCH 1 FLAGS (CHANGEDSINCE 5 VANISHED)", "VANISHED without UIDs"),
            ("UID FETCH 1 FLAGS (VANISHED)", "VANISHED without CHANGEDSINCE"),
            ("UID FETCH 1 FLAGS CHANGEDSINCE 5", "no parentheses"),
            ("STORE 1 (CHANGEDSINCE 5) FLAGS ()", "another command's modifier"),
            ("STORE 1 (UNCHANGEDSINCE 5 UNCHANGEDSINCE 5) FLAGS ()", "twice"),
            ("STORE 1 () FLAGS ()", "no modifier"),
            ("STORE 1 (UNCHANGEDSINCE -1) FLAGS ()", "no number"),
            ("STORE 1 FLAG \\Seen", "no such data item"),
            ("STORE 1 FLAGS", "no flags"),
            ("UID NOOP", "no UID form"),
            ("GETQUOTA", "no root"),
            ("GETQUOTAROOT a b", "two mailboxes"),
            ("SETQUOTA \"\" (STORAGE 512)", "not announced"),
            ("UID EXPUNGE", "missing set"),
            ("COPY 1", "missing mailbox"),
            ("ID (\"name\")", "odd list"),
            ("AUTHENTICATE PLAIN !", "not base64"),
            ("APPEND a \"b\"", "message not as a literal"),
            ("ENABLE", "nothing to enable"),
            ("ENABLE ", "nothing to enable"),
            ("ENABLE (IMAP4rev2)", "not a list"),
            ("CREATE x (USE)", "no uses"),
            ("CREATE x (USE (Sent))", "no attribute"),
            ("CREATE x (USE (\\Sent)", "an open list"),
            ("CREATE x ()", "no parameter"),
            ("FETCH 1,$ UID", "`$` stands alone"),
            ("FETCH $,1 UID", "`$` stands alone"),
            ("FETCH $:* UID", "`$` stands alone"),
        ] {
            assert!(parse(text).is_err(), "{reason}: {text}");
        }
    }

    #[test]
    fn store_takes_flags_with_and_without_parentheses() {
        assert_eq!(parse("STORE 2:4 +FLAGS.SILENT (\\Deleted)"), parse("store 2:4 +flags.silent \\deleted"));
        assert!(matches!(
            parse("UID STORE 1 -FLAGS (a b)"),
            Ok(Command::Store { numbering: Numbering::Uid, .. })
        ));
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let shown = format!("{:?}", parse("LOGIN joe canary").unwrap());
        assert!(!shown.contains("canary") && !shown.contains("99, 97"), "{shown}");
    }
}
