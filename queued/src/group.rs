//! Whose the recipients are, and what each account gets.

use std::{collections::BTreeMap, sync::Arc};

use ipc_proto::{
    AccountId,
    authd::{AuthdToQueued, MAX_OWNERS, Owner, QueuedAuthd, QueuedToAuthd},
    delivery::AccountDelivery,
    stream::Link,
};
use mail_lib::address::Address;
use tokio::task::JoinSet;

use crate::{
    accounts::{Accounts, Answer},
    body::Body,
    queue::Envelope,
};

/// Accounts that one message is delivered to at the same time.
const AT_ONCE: usize = 20;

/// One account and which of the recipients are its own, by their places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) account: AccountId,
    pub(crate) places: Vec<usize>,
}

/// Asks authd; `None`: it cannot say now.
pub(crate) async fn owners(
    authd: &Link<QueuedAuthd>,
    recipients: &[&Address],
    from: Option<&Address>,
) -> Option<Vec<Owner>> {
    let mut all = Vec::with_capacity(recipients.len());
    for recipients in recipients.chunks(MAX_OWNERS) {
        let (count, some) = (recipients.len(), recipients.iter().copied().cloned().collect());
        match authd.call(&QueuedToAuthd::Owners(some, from.cloned()), Vec::new()).await {
            Ok((AuthdToQueued::Owners(owners), _)) if owners.len() == count => all.extend(owners),
            Ok((AuthdToQueued::Owners(_) | AuthdToQueued::MaySend(_) | AuthdToQueued::Recipients(_), _)) => {
                tracing::error!("authd answered another question than whose the recipients are");
                return None;
            }
            Err(error) => {
                tracing::warn!("authd does not say whose the recipients are: {error}");
                return None;
            }
        }
    }
    Some(all)
}

/// One group per account, each with one copy of the message.
pub(crate) fn by_account(owners: &[Owner]) -> Vec<Group> {
    let mut groups: BTreeMap<AccountId, Vec<usize>> = BTreeMap::new();
    for (place, owner) in owners.iter().enumerate() {
        let accounts = match owner {
            Owner::Account(account) => std::slice::from_ref(account),
            Owner::Members(accounts) => accounts,
            Owner::Nobody | Owner::Disabled => &[],
        };
        for account in accounts {
            let places = groups.entry(*account).or_default();
            if places.last() != Some(&place) {
                places.push(place);
            }
        }
    }
    groups.into_iter().map(|(account, places)| Group { account, places }).collect()
}

/// The header fields above smtpd's: where the message came from (RFC 5321 §4.4) and, for an account that gets it
/// under one address only, which that was (RFC 9228 §3; several would tell what a blind copy hides).
fn prefix(envelope: &Envelope, delivered_to: Option<&Address>) -> Vec<u8> {
    let mut prefix = String::with_capacity(64 + envelope.trace.len());
    match &envelope.reverse_path {
        Some(address) => prefix.push_str(&format!("Return-Path: <{address}>\r\n")),
        None => prefix.push_str("Return-Path: <>\r\n"),
    }
    if let Some(address) = delivered_to {
        prefix.push_str(&format!("Delivered-To: {address}\r\n"));
    }
    let mut prefix = prefix.into_bytes();
    prefix.extend_from_slice(&envelope.trace);
    prefix
}

fn for_account(envelope: &Envelope, recipients: &[&Address], group: &Group, size: u64) -> AccountDelivery {
    let delivered_to = match group.places.as_slice() {
        [only] => recipients.get(*only).copied(),
        _ => None,
    };
    AccountDelivery {
        id: envelope.id,
        connection: envelope.connection,
        prefix: prefix(envelope, delivered_to),
        received: envelope.received,
        size,
    }
}

/// Delivers to all groups in parallel. One answer per group, in no order.
pub(crate) async fn deliver(
    accounts: &Arc<Accounts>,
    envelope: &Envelope,
    recipients: &[&Address],
    groups: Vec<Group>,
    body: &Body,
) -> Vec<(Group, Answer)> {
    let mut answers = Vec::with_capacity(groups.len());
    // Nearly all mail has one recipient: no task of its own.
    if let [group] = groups.as_slice() {
        let delivery = for_account(envelope, recipients, group, body.size());
        let answer = accounts.deliver(group.account, delivery, body).await;
        return groups.into_iter().map(|group| (group, answer)).collect();
    }
    let mut running = JoinSet::new();
    for group in groups {
        if running.len() >= AT_ONCE {
            answers.extend(running.join_next().await.and_then(Result::ok));
        }
        let delivery = for_account(envelope, recipients, &group, body.size());
        let (accounts, body) = (Arc::clone(accounts), body.clone());
        running.spawn(async move {
            let answer = accounts.deliver(group.account, delivery, &body).await;
            (group, answer)
        });
    }
    while let Some(answer) = running.join_next().await {
        answers.extend(answer.ok());
    }
    answers
}

#[cfg(test)]
mod tests {
    use ipc_proto::{ConnectionId, DeliveryId, types::Timestamp};

    use super::*;

    fn envelope(reverse_path: Option<&str>) -> Envelope {
        Envelope {
            id: DeliveryId([7; 16]),
            connection: ConnectionId(1),
            reverse_path: reverse_path.map(|text| Address::parse(text).unwrap()),
            trace: b"Received: from a by b\r\n".to_vec(),
            received: Timestamp { seconds: 0, nanoseconds: 0 },
        }
    }

    #[test]
    fn recipients_of_one_account_get_one_copy() {
        let id = |number| AccountId::new(number).unwrap();
        let account = |number| Owner::Account(id(number));
        let members = |numbers: &[u32]| Owner::Members(numbers.iter().copied().map(id).collect());
        for (owners, expected, reason) in [
            (
                vec![account(2), Owner::Nobody, account(1), account(2), Owner::Disabled],
                vec![(1, vec![2]), (2, vec![0, 3])],
                "two addresses of one account",
            ),
            (
                vec![members(&[1, 2]), members(&[2, 3]), account(3)],
                vec![(1, vec![0]), (2, vec![0, 1]), (3, vec![1, 2])],
                "a member of two aliases, and one that is a recipient, too",
            ),
            (vec![members(&[4, 4])], vec![(4, vec![0])], "authd named one twice"),
        ] {
            let groups = by_account(&owners).into_iter().map(|group| (group.account.number(), group.places));
            assert_eq!(groups.collect::<Vec<_>>(), expected, "{reason}");
        }
    }

    #[test]
    fn the_prefix_says_where_from_and_under_which_single_address() {
        let recipients = ["a@x.org", "b@x.org"].map(|text| Address::parse(text).unwrap());
        let account = AccountId::new(1).unwrap();
        for (reverse_path, places, expected) in [
            (
                Some("s@y.org"),
                vec![1],
                "Return-Path: <s@y.org>\r\nDelivered-To: b@x.org\r\nReceived: from a by b\r\n",
            ),
            (None, vec![0], "Return-Path: <>\r\nDelivered-To: a@x.org\r\nReceived: from a by b\r\n"),
            (None, vec![0, 1], "Return-Path: <>\r\nReceived: from a by b\r\n"),
        ] {
            let group = Group { account, places };
            let recipients: Vec<_> = recipients.iter().collect();
            let delivery = for_account(&envelope(reverse_path), &recipients, &group, 5);
            assert_eq!(String::from_utf8(delivery.prefix).unwrap(), expected);
        }
    }
}
