//! Quotas: what the supervisor is told, and what RCPT is told of an account that is full.

use ipc_proto::quota::{Quota, QuotaLimit, QuotaLimits, QuotaRequest, QuotaSubject};

use super::*;

fn set(subject: QuotaSubject, most: u64) -> AdminToAuthd {
    let limits = QuotaLimits { octets: Some(QuotaLimit::Most(most)), messages: None };
    AdminToAuthd::Quota(QuotaRequest::Set { subject, limits })
}

fn told(instance: &mut Instance) -> Vec<(u32, Option<u64>)> {
    let mut all = Vec::new();
    while let Ok(event) = instance.events.try_recv() {
        let Event::Quota { account, quota: Quota { octets, messages: None } } = event else {
            panic!("{event:?}")
        };
        all.push((account.number(), octets));
    }
    all.sort_unstable();
    all
}

#[tokio::test]
async fn the_supervisor_is_told_what_changed_before_the_admin_is_answered() {
    let (mut instance, admin) = Instance::with_accounts().await;
    done(&admin, set(QuotaSubject::All, 100)).await;
    assert_eq!(told(&mut instance), [(1, Some(100)), (2, Some(100))]);
    done(&admin, set(QuotaSubject::Account("bob".into()), 200)).await;
    assert_eq!(told(&mut instance), [(2, Some(200))]);
    done(&admin, set(QuotaSubject::Domain("example.org".into()), 50)).await;
    assert_eq!(told(&mut instance), [(1, Some(50))]);
    done(&admin, AdminToAuthd::Quota(QuotaRequest::Remove(QuotaSubject::Domain("example.org".into())))).await;
    assert_eq!(told(&mut instance), [(1, Some(100))]);
    // A new account's, behind its directory.
    instance.add(&admin, "carol").await;
    assert_eq!(told(&mut instance), [(3, Some(100))]);
    done(&admin, AdminToAuthd::Quota(QuotaRequest::Remove(QuotaSubject::All))).await;
    assert_eq!(told(&mut instance), [(1, None), (3, None)]);
}

#[tokio::test]
async fn rcpt_is_told_for_a_minute_that_an_account_is_full() {
    let (mut instance, admin) = Instance::with_accounts().await;
    done(&admin, set(QuotaSubject::Account("alice".into()), 100)).await;
    let alice = AccountId::new(told(&mut instance)[0].0).unwrap();
    let smtpd = instance.ask::<SmtpdAuthd>();
    let recipient = async |name: &str| {
        let query = RecipientQuery::Address(address(&format!("{name}@example.org")));
        match smtpd.call(&SmtpdToAuthd::Recipient(query, None), Vec::new()).await.unwrap().0 {
            AuthdToSmtpd::Recipient(recipient) => recipient,
            other => panic!("{other:?}"),
        }
    };
    let local = |name: &str| Recipient::Local(address(&format!("{name}@example.org")));
    assert_eq!(recipient("alice").await, local("alice"));
    instance.service.order(&Order::Full(alice));
    assert_eq!(recipient("alice").await, Recipient::Full);
    assert_eq!(recipient("bob").await, local("bob"));
    // Only for the moment: while the clock stands still, waiting for another thread would pass for time.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    assert_eq!(recipient("alice").await, local("alice"));
    // Another quota may leave room.
    instance.service.order(&Order::Full(alice));
    done(&admin, set(QuotaSubject::Account("alice".into()), 200)).await;
    assert_eq!(recipient("alice").await, local("alice"));
}
