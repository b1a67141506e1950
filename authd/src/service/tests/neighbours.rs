//! What accounts' processes ask about each other.

use ipc_proto::neighbours::{AccountdAuthd, AccountdToAuthd, AuthdToAccountd};

use super::*;

impl Instance {
    /// The channel of an account's process, as the supervisor hands it out.
    fn account(&self, account: AccountId) -> Asker<AccountdAuthd> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.service.account_channel(account, theirs).unwrap();
        Asker::start(ours, |_| {}).unwrap()
    }
}

async fn ask(asker: &Asker<AccountdAuthd>, request: AccountdToAuthd) -> AuthdToAccountd {
    asker.call(&request, Vec::new()).await.unwrap().0
}

#[tokio::test]
async fn who_shares_is_told_and_may_be_visited_by_nobody_else() {
    let (mut instance, admin) = Instance::with_accounts().await;
    let bob = instance.add(&admin, "bob2").await;
    let carol = instance.add(&admin, "carol").await;
    let alice = AccountId::new(1).unwrap();
    let (from_alice, from_bob, from_carol) =
        (instance.account(alice), instance.account(bob), instance.account(carol));
    let who = ask(&from_bob, AccountdToAuthd::Who("alice".into())).await;
    assert_eq!(who, AuthdToAccountd::Number(Some(alice)));
    let who = ask(&from_bob, AccountdToAuthd::Who("carol@example.org".into())).await;
    assert_eq!(who, AuthdToAccountd::Number(Some(carol)));
    assert_eq!(ask(&from_bob, AccountdToAuthd::Who("x".repeat(10_000))).await, AuthdToAccountd::Number(None));
    // Nobody shares anything yet.
    assert_eq!(ask(&from_alice, AccountdToAuthd::Owners).await, AuthdToAccountd::Owners(Vec::new()));
    assert_eq!(ask(&from_alice, AccountdToAuthd::Open(bob)).await, AuthdToAccountd::NotShared);
    let shares = AccountdToAuthd::Shares { with: vec![alice], anyone: false };
    assert_eq!(ask(&from_bob, shares.clone()).await, AuthdToAccountd::Noted);
    let owners = ask(&from_alice, AccountdToAuthd::Owners).await;
    assert_eq!(owners, AuthdToAccountd::Owners(vec![(bob, "bob2".into())]));
    assert_eq!(ask(&from_alice, AccountdToAuthd::Open(bob)).await, AuthdToAccountd::Opening);
    loop {
        if let Some(Event::Share { principal, owner, .. }) = instance.events.recv().await {
            assert_eq!((principal, owner), (alice, bob));
            break;
        }
    }
    assert_eq!(ask(&from_carol, AccountdToAuthd::Open(bob)).await, AuthdToAccountd::NotShared);
    assert_eq!(ask(&from_bob, AccountdToAuthd::Open(bob)).await, AuthdToAccountd::NotShared);
    // Disabled accounts neither visit nor are visited.
    done(&admin, AdminToAuthd::AccountDisable("bob2".into(), true)).await;
    assert_eq!(ask(&from_alice, AccountdToAuthd::Owners).await, AuthdToAccountd::Owners(Vec::new()));
    assert_eq!(ask(&from_alice, AccountdToAuthd::Open(bob)).await, AuthdToAccountd::NotShared);
    done(&admin, AdminToAuthd::AccountDisable("bob2".into(), false)).await;
    let everybody = AccountdToAuthd::Shares { with: Vec::new(), anyone: true };
    assert_eq!(ask(&from_bob, everybody).await, AuthdToAccountd::Noted);
    assert_eq!(ask(&from_carol, AccountdToAuthd::Open(bob)).await, AuthdToAccountd::Opening);
    let nobody = AccountdToAuthd::Shares { with: Vec::new(), anyone: false };
    assert_eq!(ask(&from_bob, nobody).await, AuthdToAccountd::Noted);
    assert_eq!(ask(&from_carol, AccountdToAuthd::Open(bob)).await, AuthdToAccountd::NotShared);
}

#[tokio::test]
async fn what_is_shared_is_known_after_a_restart_and_goes_with_the_account() {
    let (mut instance, admin) = Instance::with_accounts().await;
    let bob = instance.add(&admin, "bob2").await;
    let alice = AccountId::new(1).unwrap();
    let shares = AccountdToAuthd::Shares { with: vec![alice], anyone: true };
    assert_eq!(ask(&instance.account(bob), shares).await, AuthdToAccountd::Noted);
    instance.service.stop().await;
    let Instance { path, service, .. } = instance;
    drop((service, admin));
    let instance = Instance::start_in(path);
    let from_alice = instance.account(alice);
    let owners = ask(&from_alice, AccountdToAuthd::Owners).await;
    assert_eq!(owners, AuthdToAccountd::Owners(vec![(bob, "bob2".into())]));
    let admin = instance.ask::<AdminAuthd>();
    done(&admin, AdminToAuthd::AccountRemove("bob2".into())).await;
    assert_eq!(ask(&from_alice, AccountdToAuthd::Owners).await, AuthdToAccountd::Owners(Vec::new()));
    assert_eq!(ask(&from_alice, AccountdToAuthd::Names(vec![bob])).await, AuthdToAccountd::Names(vec![None]));
}

/// A captured account process: what it asks for costs others nothing.
#[tokio::test]
async fn an_account_that_asks_without_end_is_put_off() {
    let (mut instance, admin) = Instance::with_accounts().await;
    let bob = instance.add(&admin, "bob2").await;
    let alice = AccountId::new(1).unwrap();
    let (from_alice, from_bob) = (instance.account(alice), instance.account(bob));
    let shares = AccountdToAuthd::Shares { with: vec![alice], anyone: false };
    assert_eq!(ask(&from_bob, shares).await, AuthdToAccountd::Noted);
    let mut opening = 0;
    for _ in 0..200 {
        opening += u32::from(ask(&from_alice, AccountdToAuthd::Open(bob)).await == AuthdToAccountd::Opening);
    }
    assert_eq!(opening, 100);
    let many = vec![alice; 1_001];
    assert_eq!(ask(&from_bob, AccountdToAuthd::Names(many.clone())).await, AuthdToAccountd::Busy);
    let many = AccountdToAuthd::Shares { with: many, anyone: false };
    assert_eq!(ask(&from_bob, many).await, AuthdToAccountd::Busy);
}
