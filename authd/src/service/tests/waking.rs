//! Sessions that sleep and are to wake up.

use ipc_proto::SessionId;

use super::*;

/// Attack class 31: a session that slept goes on only if this authd opened it and has not cut it since.
#[tokio::test]
async fn a_session_that_slept_goes_on_unless_it_was_cut_or_is_over() {
    let (mut instance, admin) = Instance::with_accounts().await;
    let imapd = Imapd(instance.ask());
    imapd.admit(1, "192.0.2.1").await;
    imapd.admit(2, "192.0.2.1").await;
    let alice = instance.login_ok(&imapd, 1, "alice", "moxmoxmox").await.session;
    let bob = instance.login_ok(&imapd, 2, "bob", "moxmoxmox").await.session;
    let waking = async |instance: &mut Instance, session| {
        instance.service.order(&Order::Waking(session));
        instance.events.recv().await.unwrap()
    };
    assert_eq!(waking(&mut instance, alice).await, Event::Awaken(alice));
    assert_eq!(waking(&mut instance, alice).await, Event::Awaken(alice), "as often as it likes");
    let strange = SessionId(alice.0 ^ 1);
    assert_eq!(
        waking(&mut instance, strange).await,
        Event::Disconnect(strange),
        "an authd before this one's"
    );
    assert_eq!(instance.changed(&admin, password_set("alice", "another1")).await.number(), 1);
    assert_eq!(
        waking(&mut instance, alice).await,
        Event::Disconnect(alice),
        "cut, though it has not ended yet"
    );
    assert_eq!(waking(&mut instance, bob).await, Event::Awaken(bob), "bob's goes on");
    instance.service.order(&Order::SessionEnded(bob));
    assert_eq!(waking(&mut instance, bob).await, Event::Disconnect(bob));
}
