//! NOTIFY (RFC 5465): the session tells of other mailboxes, and of the selected one without being asked.

use std::os::fd::{AsFd, BorrowedFd};

use imapd::response::{self, Status};
use imapd::{EventGroup, FetchItem, MailboxFilter, Notify, NotifyEvent, StatusItem};
use store_lib::{
    Activity, Annotated, Mailbox, MailboxId, MailboxName, NameChange, Noticed, Notices, StoreError,
};

use crate::End;
use crate::list::Line;
use crate::reply::{Reply, Stop};
use crate::session::{Expunges, Session};
use crate::{mailboxes, metadata};

/// Of the selected mailbox, what the client is told that it did not ask for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Telling {
    /// EXISTS, EXPUNGE and VANISHED.
    pub(crate) messages: bool,
    /// FETCH with flags.
    pub(crate) flags: bool,
    /// While no command is under way.
    pub(crate) at_once: bool,
    /// FETCH behind EXISTS, with these.
    pub(crate) of_arrivals: Vec<FetchItem>,
}

impl Telling {
    /// Without NOTIFY: as RFC 3501 has it.
    pub(crate) fn everything() -> Self {
        Self { messages: true, flags: true, ..Self::default() }
    }

    pub(crate) fn is_everything(&self) -> bool {
        let Self { messages, flags, at_once, of_arrivals } = self;
        *messages && *flags && !*at_once && of_arrivals.is_empty()
    }

    fn of(group: &EventGroup) -> Self {
        let of_arrivals = group.events.iter().find_map(NotifyEvent::arrival_items);
        Self {
            messages: of_arrivals.is_some(),
            flags: group.events.contains(&NotifyEvent::FlagChange),
            at_once: group.mailboxes == MailboxFilter::Selected,
            of_arrivals: of_arrivals.unwrap_or_default().to_vec(),
        }
    }
}

/// What NOTIFY has set for the other mailboxes.
#[derive(Debug)]
pub(crate) struct Notifying {
    groups: Vec<Group>,
    notices: Notices,
}

/// A group whose names are checked.
#[derive(Debug)]
struct Group {
    mailboxes: Mailboxes,
    messages: bool,
    flags: bool,
    names: bool,
    subscriptions: bool,
    metadata: bool,
    server_metadata: bool,
}

#[derive(Debug)]
enum Mailboxes {
    All,
    Subscribed,
    Subtree(Vec<MailboxName>),
    Named(Vec<MailboxName>),
}

/// What may happen to a mailbox.
#[derive(Debug, Clone, Copy)]
enum Happening {
    Messages,
    Flags,
    Name,
    Subscription,
    Metadata,
}

impl Group {
    /// `None`: it is about the selected mailbox.
    fn of(group: &EventGroup) -> Result<Option<Self>, Reply> {
        let names = |names: &[String]| -> Result<Vec<_>, Reply> {
            names.iter().map(|name| mailboxes::new_name(name)).collect()
        };
        let mailboxes = match &group.mailboxes {
            MailboxFilter::Selected | MailboxFilter::SelectedDelayed => return Ok(None),
            // Rules may deliver anywhere, so no mailbox is none of them (RFC 5465 §6.3).
            MailboxFilter::Inboxes | MailboxFilter::Personal => Mailboxes::All,
            MailboxFilter::Subscribed => Mailboxes::Subscribed,
            MailboxFilter::Subtree(roots) => Mailboxes::Subtree(names(roots)?),
            MailboxFilter::Mailboxes(list) => Mailboxes::Named(names(list)?),
        };
        Ok(Some(Self {
            mailboxes,
            messages: group.events.contains(&NotifyEvent::MessageExpunge),
            flags: group.events.contains(&NotifyEvent::FlagChange),
            names: group.events.contains(&NotifyEvent::MailboxName),
            subscriptions: group.events.contains(&NotifyEvent::SubscriptionChange),
            metadata: group.events.contains(&NotifyEvent::MailboxMetadataChange),
            server_metadata: group.events.contains(&NotifyEvent::ServerMetadataChange),
        }))
    }

    fn is_about(&self, name: &MailboxName, subscribed: bool) -> bool {
        match &self.mailboxes {
            Mailboxes::All => true,
            Mailboxes::Subscribed => subscribed,
            Mailboxes::Subtree(roots) => roots.iter().any(|root| name == root || name.below(root).is_some()),
            Mailboxes::Named(names) => names.contains(name),
        }
    }

    fn has(&self, happening: Happening) -> bool {
        match happening {
            Happening::Messages => self.messages,
            Happening::Flags => self.flags,
            Happening::Name => self.names,
            Happening::Subscription => self.subscriptions,
            Happening::Metadata => self.metadata,
        }
    }

    /// NONE: about these mailboxes nothing is told, whatever later groups say.
    fn is_none(&self) -> bool {
        let about_names = self.names || self.subscriptions;
        !(self.messages || self.flags || about_names || self.metadata || self.server_metadata)
    }
}

/// Whether a group wants to hear of it.
fn wanted(groups: &[Group], happening: Happening, name: &MailboxName, subscribed: bool) -> bool {
    let about = groups.iter().filter(|group| group.is_about(name, subscribed));
    about.take_while(|group| !group.is_none()).any(|group| group.has(happening))
}

impl Notifying {
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.notices.as_fd()
    }

    /// What STATUS has to tell of a mailbox in which this happened; empty for nothing.
    fn status_items(&self, mailbox: &Mailbox, activity: Activity, condstore: bool) -> Vec<StatusItem> {
        let wants = |happening| wanted(&self.groups, happening, &mailbox.name, mailbox.subscribed);
        let mut items = Vec::new();
        if (activity.arrivals || activity.expunges) && wants(Happening::Messages) {
            items.extend([StatusItem::Messages, StatusItem::UidNext]);
        }
        if activity.flags && wants(Happening::Flags) {
            items.extend([StatusItem::UidValidity, StatusItem::Unseen]);
        }
        if condstore && !items.is_empty() {
            items.push(StatusItem::HighestModSeq);
        }
        items
    }
}

impl Session {
    pub(crate) fn notify(&mut self, notify: &Notify) -> Result<Reply, Stop> {
        if notify.has_unsupported() {
            // RFC 5465 §3.1.
            let text = "[BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange \
                        MailboxMetadataChange ServerMetadataChange)] no such event";
            return Err(Reply::no(text).into());
        }
        let Notify::Set { status, groups } = notify else {
            (self.telling, self.notifying) = (Telling::default(), None);
            return Ok(Reply::ok("NOTIFY completed"));
        };
        let others = groups.iter().map(Group::of).collect::<Result<Vec<_>, _>>()?;
        // By what was set before.
        self.tell_changes(Expunges::Tell)?;
        self.telling =
            groups.iter().find(|group| group.mailboxes.is_selected()).map(Telling::of).unwrap_or_default();
        self.notifying = match others.into_iter().flatten().collect::<Vec<_>>() {
            groups if groups.is_empty() => None,
            // Listen first, read after: so nothing falls between.
            groups => Some(Notifying { groups, notices: self.store.notices(self.origin)? }),
        };
        if *status {
            self.tell_status()?;
        }
        Ok(Reply::ok("NOTIFY completed"))
    }

    /// How the mailboxes are of whose messages the client wants to hear.
    fn tell_status(&mut self) -> Result<(), Stop> {
        let mailboxes = self.read(|reader| reader.mailboxes())?;
        for mailbox in &mailboxes {
            let Some(notifying) = &self.notifying else { break };
            let wants = |happening| wanted(&notifying.groups, happening, &mailbox.name, mailbox.subscribed);
            if self.is_selected(mailbox.id) || !wants(Happening::Messages) {
                continue;
            }
            let mut items = vec![StatusItem::Messages, StatusItem::UidNext, StatusItem::UidValidity];
            items.extend(wants(Happening::Flags).then_some(StatusItem::Unseen));
            items.extend(self.aware.condstore.then_some(StatusItem::HighestModSeq));
            self.write_status(mailbox, &items)?;
            self.connection.flush_if_full()?;
        }
        Ok(())
    }

    fn is_selected(&self, mailbox: MailboxId) -> bool {
        self.selected.as_ref().is_some_and(|selected| selected.mailbox == mailbox)
    }

    /// Tells what happened in other mailboxes, and to any mailbox itself.
    pub(crate) fn tell_notices(&mut self) -> Result<(), End> {
        let Some(notifying) = &mut self.notifying else { return Ok(()) };
        let Some(noticed) = notifying.notices.drain() else {
            // As after NOTIFY NONE (RFC 5465 §5.8).
            (self.telling, self.notifying) = (Telling::default(), None);
            let text = "[NOTIFICATIONOVERFLOW] too much happened: say NOTIFY again";
            response::untagged(&mut self.connection.out, Status::Ok, text);
            return Ok(());
        };
        self.tell_activity(&noticed)?;
        self.tell_names(&noticed)?;
        self.tell_entries(&noticed)
    }

    fn tell_activity(&mut self, noticed: &Noticed) -> Result<(), End> {
        for (id, activity) in &noticed.mailboxes {
            if self.is_selected(*id) {
                continue;
            }
            // Deleted meanwhile: that is told by its name.
            let Some(mailbox) = self.read(|reader| reader.mailbox(*id))? else { continue };
            let Some(notifying) = &self.notifying else { return Ok(()) };
            let items = notifying.status_items(&mailbox, *activity, self.aware.condstore);
            if !items.is_empty() {
                self.write_status(&mailbox, &items)?;
                self.connection.flush_if_full()?;
            }
        }
        Ok(())
    }

    /// METADATA responses, with the names of entries (RFC 5465 §5.6, §5.7).
    fn tell_entries(&mut self, noticed: &Noticed) -> Result<(), End> {
        for (of, entry) in &noticed.entries {
            let found = match of {
                Annotated::Server => None,
                Annotated::Mailbox(id) => match self.read(|reader| reader.mailbox(*id))? {
                    Some(found) => Some(found),
                    None => continue,
                },
            };
            let Some(notifying) = &self.notifying else { return Ok(()) };
            let wants = match &found {
                None => notifying.groups.iter().any(|group| group.server_metadata),
                Some(found) => wanted(&notifying.groups, Happening::Metadata, &found.name, found.subscribed),
            };
            if wants {
                let name = found.as_ref().map_or("", |found| found.name.as_str());
                metadata::begin_response(&mut self.connection.out, name, self.names);
                self.connection.out.push(b' ');
                response::astring(&mut self.connection.out, entry.as_str().as_bytes());
                self.connection.out.extend_from_slice(b"\r\n");
                self.connection.flush_if_full()?;
            }
        }
        Ok(())
    }

    /// LIST responses, each with what is true by now (RFC 5465 §5.4, §5.5).
    fn tell_names(&mut self, noticed: &Noticed) -> Result<(), End> {
        if noticed.names.is_empty() {
            return Ok(());
        }
        let found = self.read(|reader| {
            let subscriptions = reader.subscriptions()?;
            let each = noticed.names.iter().map(|change| -> Result<_, StoreError> {
                let name = change.name();
                let subscribed = subscriptions.contains(name);
                Ok((change, reader.find(name)?.is_some(), subscribed))
            });
            each.collect::<Result<Vec<_>, _>>()
        })?;
        for (change, exists, subscribed) in found {
            let Some(notifying) = &self.notifying else { return Ok(()) };
            let wants = |happening, name| wanted(&notifying.groups, happening, name, subscribed);
            let (wants, line) = match change {
                NameChange::Created(name) | NameChange::Deleted(name) => {
                    (wants(Happening::Name, name), Line::called(name, name.as_str()))
                }
                NameChange::Renamed { from, to } => {
                    let wants = wants(Happening::Name, from) || wants(Happening::Name, to);
                    (wants, Line::called(to, from.as_str()))
                }
                NameChange::Subscribed(name) | NameChange::Unsubscribed(name) => {
                    (wants(Happening::Subscription, name), Line::called(name, name.as_str()))
                }
            };
            if wants {
                let attributes = [(!exists).then_some("\\NonExistent"), subscribed.then_some("\\Subscribed")];
                line.write(&mut self.connection.out, attributes.into_iter().flatten(), self.names);
                self.connection.flush_if_full()?;
            }
        }
        Ok(())
    }
}
