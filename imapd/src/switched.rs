//! Which capabilities a command belongs to, so that one that is switched off for an account is as if it were not there.

use ipc_proto::capability::Capabilities;

use crate::command::Command;
use crate::fetch::FetchItem;
use crate::list::List;
use crate::search::{SearchKey, SearchReturn};
use crate::sequence_set::MessageSet;
use crate::sort::{SortCriterion, SortKey};
use crate::status::StatusItem;
use crate::sync::SelectParameters;
use crate::thread::ThreadAlgorithm;

type Words = Vec<&'static str>;

impl Command {
    /// Whether it is, or asks for, something of a capability that is switched off.
    #[must_use]
    pub fn is_switched_off(&self, without: Capabilities) -> bool {
        !without.is_empty() && self.words().into_iter().any(|word| without.contains(word))
    }

    /// The capabilities that it needs, besides IMAP4rev1.
    fn words(&self) -> Words {
        match self {
            Self::Capability
            | Self::Noop
            | Self::Logout
            | Self::StartTls
            | Self::Authenticate { .. }
            | Self::Login { .. }
            | Self::Delete(_)
            | Self::Rename { .. }
            | Self::Subscribe(_)
            | Self::Unsubscribe(_)
            | Self::Lsub { .. }
            | Self::Check
            | Self::Close
            | Self::Expunge(None) => Words::new(),
            Self::Select { parameters, .. } | Self::Examine { parameters, .. } => select_words(parameters),
            Self::Enable(_) => vec!["ENABLE"],
            Self::Create { uses, .. } => if_so(!uses.is_empty(), "CREATE-SPECIAL-USE"),
            Self::List(list) => list_words(list),
            Self::Status { items, .. } => status_words(items),
            Self::Expunge(Some(set)) => [vec!["UIDPLUS"], saved(set)].concat(),
            Self::Search { results, key, .. } => {
                let results = results.iter().flat_map(|results| [vec!["ESEARCH"], result_words(*results)]);
                results.chain([key_words(key)]).flatten().collect()
            }
            Self::CancelUpdate(_) => vec!["CONTEXT=SEARCH"],
            Self::Esearch { results, key, .. } => {
                [vec!["MULTISEARCH"], result_words(*results), key_words(key)].concat()
            }
            Self::Sort { results, criteria, key, .. } => {
                let results = results.iter().flat_map(|results| [vec!["ESORT"], result_words(*results)]);
                let rest = [vec!["SORT"], sort_words(criteria), key_words(key)];
                results.chain(rest).flatten().collect()
            }
            Self::Thread { algorithm, key, .. } => {
                let word = match algorithm {
                    ThreadAlgorithm::OrderedSubject => "THREAD=ORDEREDSUBJECT",
                    ThreadAlgorithm::References => "THREAD=REFERENCES",
                    ThreadAlgorithm::Refs => "THREAD=REFS",
                };
                [vec![word], key_words(key)].concat()
            }
            Self::Fetch { set, items, modifiers, .. } => {
                let mut words = saved(set);
                words.extend(items.iter().filter_map(item_word));
                words.extend(modifiers.changed_since.map(|_| "CONDSTORE"));
                words.extend(modifiers.partial.map(|_| "PARTIAL"));
                words.extend(if_so(modifiers.vanished, "QRESYNC"));
                words
            }
            Self::Store { set, unchanged_since, .. } => {
                [saved(set), if_so(unchanged_since.is_some(), "CONDSTORE")].concat()
            }
            Self::Copy { set, .. } => saved(set),
            Self::Move { set, .. } => [vec!["MOVE"], saved(set)].concat(),
            Self::Acl(_) => vec!["ACL"],
            Self::Compress(_) => vec!["COMPRESS=DEFLATE"],
            Self::GetQuota(_) | Self::GetQuotaRoot(_) => vec!["QUOTA"],
            Self::GetMetadata(_) | Self::SetMetadata(_) => vec!["METADATA"],
            Self::GenUrlAuth(_) | Self::ResetKey { .. } => vec!["URLAUTH"],
            Self::UrlFetch(urls) => {
                let binary = urls.iter().any(|url| url.items.is_some());
                [vec!["URLAUTH"], if_so(binary, "URLAUTH=BINARY")].concat()
            }
            Self::Id(_) => vec!["ID"],
            Self::Idle => vec!["IDLE"],
            Self::Language(_) => vec!["LANGUAGE"],
            Self::Namespace => vec!["NAMESPACE"],
            Self::Notify(_) => vec!["NOTIFY"],
            Self::Unselect => vec!["UNSELECT"],
        }
    }
}

fn if_so(holds: bool, word: &'static str) -> Words {
    if holds { vec![word] } else { Words::new() }
}

fn saved(set: &MessageSet) -> Words {
    if_so(*set == MessageSet::Saved, "SEARCHRES")
}

fn select_words(parameters: &SelectParameters) -> Words {
    [if_so(parameters.condstore, "CONDSTORE"), if_so(parameters.qresync.is_some(), "QRESYNC")].concat()
}

fn list_words(list: &List) -> Words {
    let mut words = if_so(list.extended, "LIST-EXTENDED");
    words.extend(if_so(list.selection.special_use || list.returns.special_use, "SPECIAL-USE"));
    words.extend(if_so(!list.returns.metadata.is_empty(), "LIST-METADATA"));
    words.extend(if_so(!list.returns.status.is_empty(), "LIST-STATUS"));
    words.extend(status_words(&list.returns.status));
    words
}

fn status_words(items: &[StatusItem]) -> Words {
    let word = |item: &StatusItem| match item {
        StatusItem::AppendLimit => Some("APPENDLIMIT"),
        StatusItem::DeletedStorage => Some("QUOTA"),
        StatusItem::HighestModSeq => Some("CONDSTORE"),
        StatusItem::MailboxId => Some("OBJECTID"),
        StatusItem::Size => Some("STATUS=SIZE"),
        StatusItem::Deleted
        | StatusItem::Messages
        | StatusItem::Recent
        | StatusItem::UidNext
        | StatusItem::UidValidity
        | StatusItem::Unseen => None,
    };
    items.iter().filter_map(word).collect()
}

fn result_words(results: SearchReturn) -> Words {
    let mut words = if_so(results.save, "SEARCHRES");
    words.extend(if_so(results.context || results.update, "CONTEXT=SEARCH"));
    words.extend(if_so(results.partial.is_some(), "PARTIAL"));
    words.extend(if_so(results.relevancy, "SEARCH=FUZZY"));
    words
}

fn sort_words(criteria: &[SortCriterion]) -> Words {
    let word = |criterion: &SortCriterion| match criterion.key {
        SortKey::DisplayFrom | SortKey::DisplayTo => Some("SORT=DISPLAY"),
        SortKey::Relevancy => Some("SEARCH=FUZZY"),
        SortKey::Arrival
        | SortKey::Cc
        | SortKey::Date
        | SortKey::From
        | SortKey::Size
        | SortKey::Subject
        | SortKey::To => None,
    };
    criteria.iter().filter_map(word).collect()
}

/// Of the keys that a capability brought.
fn key_words(key: &SearchKey) -> Words {
    let mut words = Words::new();
    for (word, is) in [
        ("CONDSTORE", (|key| matches!(key, SearchKey::ModSeq(_))) as fn(&SearchKey) -> bool),
        ("FILTERS", |key| matches!(key, SearchKey::Filter(_))),
        ("MESSAGELIMIT", |key| matches!(key, SearchKey::UidAfter(_) | SearchKey::UidBefore(_))),
        ("OBJECTID", |key| matches!(key, SearchKey::EmailId(_) | SearchKey::ThreadId(_))),
        ("SAVEDATE", |key| {
            matches!(
                key,
                SearchKey::SaveDateSupported
                    | SearchKey::SavedBefore(_)
                    | SearchKey::SavedOn(_)
                    | SearchKey::SavedSince(_)
            )
        }),
        ("SEARCH=FUZZY", |key| matches!(key, SearchKey::Fuzzy(_))),
        ("SEARCHRES", |key| matches!(key, SearchKey::Saved)),
        ("WITHIN", |key| matches!(key, SearchKey::Older(_) | SearchKey::Younger(_))),
    ] {
        words.extend(if_so(key.any(&is), word));
    }
    words
}

fn item_word(item: &FetchItem) -> Option<&'static str> {
    match item {
        FetchItem::Binary { .. } | FetchItem::BinarySize { .. } => Some("BINARY"),
        FetchItem::EmailId | FetchItem::ThreadId => Some("OBJECTID"),
        FetchItem::ModSeq => Some("CONDSTORE"),
        FetchItem::Preview { .. } => Some("PREVIEW"),
        FetchItem::SaveDate => Some("SAVEDATE"),
        FetchItem::Body
        | FetchItem::BodySection { .. }
        | FetchItem::BodyStructure
        | FetchItem::Envelope
        | FetchItem::Flags
        | FetchItem::InternalDate
        | FetchItem::Rfc822
        | FetchItem::Rfc822Header
        | FetchItem::Rfc822Size
        | FetchItem::Rfc822Text
        | FetchItem::Uid => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::{MESSAGE_LIMIT, SESSION, after_login};
    use crate::command::Tagged;
    use crate::mailbox_name::NameForm;

    /// Not to be switched off: every session has them, or is over its login when it begins.
    const ALWAYS: [&str; 3] = ["IMAP4rev1", "LITERAL+", "SASL-IR"];

    #[test]
    fn every_word_that_is_announced_can_be_switched_off_or_is_always_there() {
        let all = after_login(Capabilities::NONE, 1, MESSAGE_LIMIT);
        for word in all.split(' ') {
            let word = word.strip_suffix("LIMIT=1").map_or(word.to_owned(), |word| format!("{word}LIMIT"));
            let word = word.replace("=1000000", "");
            let can = Capabilities::parse([word.as_str()]).is_ok();
            assert_ne!(can, ALWAYS.contains(&word.as_str()), "{word}: see ipc_proto::capability");
        }
        assert_eq!(all, format!("{SESSION} APPENDLIMIT=1 MESSAGELIMIT=1000000"));
    }

    #[test]
    fn what_is_switched_off_is_not_announced() {
        let without = Capabilities::parse(["LIST-EXTENDED", "idle", "appendlimit"]).unwrap();
        let announced = after_login(without, 1, 2);
        let words: Vec<_> = announced.split(' ').collect();
        assert!(words.starts_with(&["IMAP4rev1", "LITERAL+"]), "{announced}");
        for gone in ["IMAP4rev2", "IDLE", "LIST-EXTENDED", "LIST-STATUS", "LIST-METADATA", "APPENDLIMIT=1"] {
            assert!(!words.contains(&gone), "{gone}: {announced}");
        }
        assert!(words.contains(&"MESSAGELIMIT=2"));
    }

    #[test]
    fn commands_belong_to_what_brought_them() {
        for (word, commands) in [
            (
                "CONDSTORE",
                &[
                    "SELECT a (CONDSTORE)",
                    "FETCH 1 FLAGS (CHANGEDSINCE 1)",
                    "FETCH 1 MODSEQ",
                    "SEARCH MODSEQ 1",
                    "STORE 1 (UNCHANGEDSINCE 1) FLAGS ()",
                    "STATUS a (HIGHESTMODSEQ)",
                ][..],
            ),
            ("QRESYNC", &["SELECT a (QRESYNC (1 1))"]),
            ("ESEARCH", &["SEARCH RETURN () ALL"]),
            ("SEARCHRES", &["SEARCH RETURN (SAVE) ALL", "FETCH $ FLAGS", "SEARCH NOT $"]),
            ("CONTEXT=SEARCH", &["SEARCH RETURN (UPDATE) ALL", "CANCELUPDATE \"a\""]),
            ("PARTIAL", &["UID SEARCH RETURN (PARTIAL 1:2) ALL", "UID FETCH 1 FLAGS (PARTIAL 1:2)"]),
            ("SORT", &["SORT (DATE) UTF-8 ALL"]),
            ("SORT=DISPLAY", &["SORT (DISPLAYFROM) UTF-8 ALL"]),
            ("ESORT", &["SORT RETURN (ALL) (DATE) UTF-8 ALL"]),
            ("THREAD=REFS", &["THREAD REFS UTF-8 ALL"]),
            ("WITHIN", &["SEARCH OLDER 7", "SEARCH NOT YOUNGER 7"]),
            ("SAVEDATE", &["SEARCH SAVEDATESUPPORTED", "FETCH 1 SAVEDATE"]),
            ("OBJECTID", &["SEARCH EMAILID a", "FETCH 1 THREADID", "STATUS a (MAILBOXID)"]),
            ("SEARCH=FUZZY", &["SEARCH FUZZY TEXT a", "SORT (RELEVANCY) UTF-8 FUZZY TEXT a"]),
            ("FILTERS", &["SEARCH FILTER a", "THREAD REFS UTF-8 OR ALL FILTER a"]),
            ("MESSAGELIMIT", &["SEARCH UIDAFTER 7"]),
            ("URLAUTH", &["RESETKEY", "URLFETCH a", "GENURLAUTH a INTERNAL"]),
            ("URLAUTH=BINARY", &["URLFETCH (a BINARY)"]),
            ("COMPRESS=DEFLATE", &["COMPRESS DEFLATE"]),
            ("MULTISEARCH", &["ESEARCH ALL"]),
            ("PREVIEW", &["FETCH 1 (FLAGS PREVIEW)"]),
        ] {
            let without = Capabilities::parse([word]).unwrap();
            for command in commands {
                let parsed = Tagged::parse(format!("a {command}").as_bytes(), NameForm::default()).unwrap();
                assert!(parsed.command.is_switched_off(without), "{word}: {command}");
                assert!(!parsed.command.is_switched_off(Capabilities::NONE), "{command}");
            }
            for command in ["SEARCH ALL", "FETCH 1:* (UID FLAGS BODY[])", "SELECT INBOX", "LIST \"\" *"] {
                let parsed = Tagged::parse(format!("a {command}").as_bytes(), NameForm::default()).unwrap();
                assert!(!parsed.command.is_switched_off(without), "{word}: {command}");
            }
        }
    }
}
