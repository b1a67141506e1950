//! NOTIFY: which mailboxes the client wants to hear of without asking, and what of them (RFC 5465 §8).

use crate::cursor::{Cursor, SyntaxError};
use crate::fetch::FetchItem;

/// Groups in one NOTIFY, and events in one group; every one there is fits many times.
const GROUP_LIMIT: usize = 100;
const EVENT_LIMIT: usize = 20;
/// Mailboxes named in one group, and FETCH items of MessageNew.
const MAILBOX_LIMIT: usize = 1000;
const ITEM_LIMIT: usize = 200;

/// NOTIFY and what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notify {
    /// Nothing is told that was not asked for.
    None,
    /// What these groups say is told, and nothing else.
    Set {
        /// STATUS: first how the mailboxes are.
        status: bool,
        /// In the order in which they are looked at.
        groups: Vec<EventGroup>,
    },
}

/// Mailboxes, and what of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventGroup {
    /// Which mailboxes.
    pub mailboxes: MailboxFilter,
    /// What happens to them; empty for NONE.
    pub events: Vec<NotifyEvent>,
}

/// Which mailboxes (RFC 5465 §6). Names are decoded to UTF-8 but otherwise as the client wrote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailboxFilter {
    /// The selected one, at once.
    Selected,
    /// The selected one, when it changes no number that the client may be using.
    SelectedDelayed,
    /// Those that mail may be delivered to.
    Inboxes,
    /// All.
    Personal,
    /// Those that are subscribed at the time.
    Subscribed,
    /// These and those below them.
    Subtree(Vec<String>),
    /// These.
    Mailboxes(Vec<String>),
}

/// What happens to a mailbox (RFC 5465 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotifyEvent {
    /// MessageNew, and what to tell of the message.
    MessageNew(Vec<FetchItem>),
    /// MessageExpunge
    MessageExpunge,
    /// FlagChange
    FlagChange,
    /// MailboxName
    MailboxName,
    /// SubscriptionChange
    SubscriptionChange,
    /// MailboxMetadataChange
    MailboxMetadataChange,
    /// ServerMetadataChange
    ServerMetadataChange,
    /// One that is not served; answered with `NO [BADEVENT (…)]` (RFC 5465 §3.1).
    Unsupported,
}

impl Notify {
    /// What stands behind NOTIFY.
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        if cursor.accept_word("NONE") {
            return Ok(Self::None);
        }
        if !cursor.accept_word("SET") {
            return Err(SyntaxError::Expected("SET or NONE"));
        }
        cursor.space()?;
        let status = cursor.accept_word("STATUS");
        if status {
            cursor.space()?;
        }
        let mut groups = vec![EventGroup::parse(cursor)?];
        while cursor.accept(b' ') {
            if groups.len() >= GROUP_LIMIT {
                return Err(SyntaxError::TooMany("groups of events"));
            }
            groups.push(EventGroup::parse(cursor)?);
        }
        let parsed = Self::Set { status, groups };
        // Whoever names an event that is not served is told about that first.
        if !parsed.has_unsupported() {
            parsed.check()?;
        }
        Ok(parsed)
    }

    /// Whether an event is among them that is not served.
    pub fn has_unsupported(&self) -> bool {
        self.groups().iter().any(|group| group.events.contains(&NotifyEvent::Unsupported))
    }

    /// All groups.
    pub fn groups(&self) -> &[EventGroup] {
        match self {
            Self::None => &[],
            Self::Set { groups, .. } => groups,
        }
    }

    /// Which events go with which others and with which mailboxes (RFC 5465 §5, §6.1, §8).
    fn check(&self) -> Result<(), SyntaxError> {
        let mut selected = 0;
        for group in self.groups() {
            let has = |event: NotifyEvent| group.events.contains(&event);
            let arrivals = group.events.iter().find_map(NotifyEvent::arrival_items);
            if arrivals.is_some() != has(NotifyEvent::MessageExpunge) {
                return Err(SyntaxError::Expected("MessageNew and MessageExpunge together"));
            }
            if has(NotifyEvent::FlagChange) && arrivals.is_none() {
                return Err(SyntaxError::Expected("MessageNew and MessageExpunge with FlagChange"));
            }
            if group.mailboxes.is_selected() {
                selected += 1;
                let others = [
                    NotifyEvent::MailboxName,
                    NotifyEvent::SubscriptionChange,
                    NotifyEvent::MailboxMetadataChange,
                    NotifyEvent::ServerMetadataChange,
                ];
                if others.into_iter().any(has) {
                    return Err(SyntaxError::Expected("events of messages with the selected mailbox"));
                }
            } else if arrivals.is_some_and(|items| !items.is_empty()) {
                return Err(SyntaxError::Expected("FETCH items with the selected mailbox only"));
            }
        }
        if selected > 1 {
            return Err(SyntaxError::Expected("the selected mailbox once"));
        }
        Ok(())
    }
}

impl EventGroup {
    /// `(mailboxes events)`
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        cursor.expect(b'(', "an opening parenthesis")?;
        let mailboxes = MailboxFilter::parse(cursor)?;
        cursor.space()?;
        let events = if cursor.accept_word("NONE") {
            Vec::new()
        } else {
            cursor.list(EVENT_LIMIT, "events", NotifyEvent::parse)?
        };
        cursor.expect(b')', "`)`")?;
        Ok(Self { mailboxes, events })
    }
}

impl MailboxFilter {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        Ok(match cursor.atom()?.to_ascii_uppercase().as_slice() {
            b"SELECTED" => Self::Selected,
            b"SELECTED-DELAYED" => Self::SelectedDelayed,
            b"INBOXES" => Self::Inboxes,
            b"PERSONAL" => Self::Personal,
            b"SUBSCRIBED" => Self::Subscribed,
            b"SUBTREE" => Self::Subtree(parse_mailboxes(cursor)?),
            b"MAILBOXES" => Self::Mailboxes(parse_mailboxes(cursor)?),
            _ => return Err(SyntaxError::Expected("which mailboxes")),
        })
    }

    /// Whether it means the selected mailbox.
    pub fn is_selected(&self) -> bool {
        matches!(self, Self::Selected | Self::SelectedDelayed)
    }
}

/// ` name`, or ` (name …)`
fn parse_mailboxes(cursor: &mut Cursor<'_>) -> Result<Vec<String>, SyntaxError> {
    cursor.space()?;
    if cursor.peek() == Some(b'(') {
        return cursor.list(MAILBOX_LIMIT, "mailboxes", Cursor::mailbox);
    }
    Ok(vec![cursor.mailbox()?])
}

impl NotifyEvent {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        Ok(match cursor.atom()?.to_ascii_uppercase().as_slice() {
            b"MESSAGENEW" => Self::MessageNew(parse_items(cursor)?),
            b"MESSAGEEXPUNGE" => Self::MessageExpunge,
            b"FLAGCHANGE" => Self::FlagChange,
            b"MAILBOXNAME" => Self::MailboxName,
            b"SUBSCRIPTIONCHANGE" => Self::SubscriptionChange,
            b"MAILBOXMETADATACHANGE" => Self::MailboxMetadataChange,
            b"SERVERMETADATACHANGE" => Self::ServerMetadataChange,
            _ => Self::Unsupported,
        })
    }

    /// Of MessageNew, what to tell of the message.
    pub fn arrival_items(&self) -> Option<&[FetchItem]> {
        if let Self::MessageNew(items) = self { Some(items) } else { None }
    }
}

/// ` (items)`, if it is there.
fn parse_items(cursor: &mut Cursor<'_>) -> Result<Vec<FetchItem>, SyntaxError> {
    let mut ahead = cursor.clone();
    if !ahead.accept(b' ') || ahead.peek() != Some(b'(') {
        return Ok(Vec::new());
    }
    *cursor = ahead;
    cursor.list(ITEM_LIMIT, "items", FetchItem::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Notify, SyntaxError> {
        let mut cursor = Cursor::new(text.as_bytes());
        let notify = Notify::parse(&mut cursor)?;
        cursor.end()?;
        Ok(notify)
    }

    /// The examples of RFC 5465 §3.1, §5, §6.
    #[test]
    fn groups_of_events_are_read() {
        assert_eq!(parse("none"), Ok(Notify::None));
        let both = || vec![NotifyEvent::MessageNew(Vec::new()), NotifyEvent::MessageExpunge];
        assert_eq!(
            parse("set status (selected MessageNew)"),
            Err(SyntaxError::Expected("an opening parenthesis"))
        );
        assert_eq!(
            parse("SET STATUS (selected (MessageNew (uid flags) messageExpunge)) (subtree Lists NONE)"),
            Ok(Notify::Set {
                status: true,
                groups: vec![
                    EventGroup {
                        mailboxes: MailboxFilter::Selected,
                        events: vec![
                            NotifyEvent::MessageNew(vec![FetchItem::Uid, FetchItem::Flags]),
                            NotifyEvent::MessageExpunge
                        ],
                    },
                    EventGroup {
                        mailboxes: MailboxFilter::Subtree(vec!["Lists".into()]),
                        events: Vec::new()
                    },
                ],
            })
        );
        for (text, mailboxes) in [
            ("inboxes", MailboxFilter::Inboxes),
            ("personal", MailboxFilter::Personal),
            ("Subscribed", MailboxFilter::Subscribed),
            ("selected-delayed", MailboxFilter::SelectedDelayed),
            ("mailboxes INBOX", MailboxFilter::Mailboxes(vec!["INBOX".into()])),
            ("subtree (a \"b c\")", MailboxFilter::Subtree(vec!["a".into(), "b c".into()])),
        ] {
            let group = EventGroup { mailboxes, events: both() };
            let expected = Notify::Set { status: false, groups: vec![group] };
            assert_eq!(parse(&format!("SET ({text} (MessageExpunge MessageNew))")).map(|_| ()), Ok(()));
            assert_eq!(parse(&format!("SET ({text} (MessageNew MessageExpunge))")), Ok(expected));
        }
    }

    #[test]
    fn malformed_and_senseless_groups_are_refused() {
        for (text, reason) in [
            ("", "nothing"),
            ("bogus", "neither SET nor NONE"),
            ("NONE ", "a trailing space"),
            ("SET", "no group"),
            ("SET STATUS", "no group"),
            ("SET ()", "an empty group"),
            ("SET (personal ())", "no events: NONE says that"),
            ("SET (personal)", "no events"),
            ("SET (theirs (MessageNew MessageExpunge))", "no such mailboxes"),
            ("SET (mailboxes (MailboxName))", "no names"),
            ("SET (personal (MessageNew))", "MessageNew alone (§5)"),
            ("SET (personal (MessageExpunge))", "MessageExpunge alone (§5)"),
            ("SET (personal (FlagChange))", "FlagChange alone (§5)"),
            ("SET (selected (MailboxName))", "no event of messages (§6.1)"),
            ("SET (selected (ServerMetadataChange))", "no event of messages (§6.1)"),
            ("SET (selected NONE) (selected-delayed NONE)", "both (§6.1)"),
            ("SET (personal (MessageNew (UID) MessageExpunge))", "items elsewhere (§8)"),
            ("SET (personal NONE) ", "a trailing space"),
        ] {
            assert!(parse(text).is_err(), "{reason}: {text}");
        }
        assert!(parse("SET (personal (AnnotationChange))").unwrap().has_unsupported());
        let many = "(personal NONE) ".repeat(GROUP_LIMIT + 1);
        assert_eq!(parse(&format!("SET {}", many.trim_end())), Err(SyntaxError::TooMany("groups of events")));
    }
}
