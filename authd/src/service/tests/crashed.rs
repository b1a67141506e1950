//! Fronts that died of a signal, and who is charged for it.

use super::{super::crashed::PATIENCE, *};

/// One that causes crashes, and one that was there.
const GUILTY: &str = "192.0.2.1";
const INNOCENT: &str = "198.51.100.1";

/// A front's life: its channel, and these connections on it.
async fn life<C: Channel>(
    instance: &Instance,
    request: impl Fn(Client) -> C::Request,
    clients: &[(u64, &str)],
) -> Asker<C> {
    let front = instance.ask::<C>();
    for (connection, from) in clients {
        let knock = Client::Admit(ConnectionId(*connection), ClientAddress(from.parse().unwrap()));
        front.call(&request(knock), Vec::new()).await.unwrap();
    }
    front
}

async fn webd(instance: &Instance, clients: &[(u64, &str)]) -> Asker<WebdAuthd> {
    life(instance, |client| client, clients).await
}

/// It is gone, and its channel was seen to end.
async fn ends<C: Channel>(instance: &Instance, front: Asker<C>) {
    let before = instance.service.0.state().connections.fronts();
    drop(front);
    while instance.service.0.state().connections.fronts() == before {
        tokio::task::yield_now().await;
    }
}

/// The supervisor's word.
fn crashed(instance: &Instance, front: Role, connections: &[u64]) {
    let connections = connections.iter().copied().map(ConnectionId).collect();
    instance.service.order(&Order::Crashed { front, connections });
}

/// What an address is remembered for.
fn points(instance: &Instance, address: &str) -> u32 {
    let address: IpAddr = address.parse().unwrap();
    let infos = instance.service.0.state().limits.list(0, instance.service.0.now());
    let found = infos
        .iter()
        .find(|info| matches!(info.who, Abuser::Network { address: of, prefix: 32 } if of == address));
    found.map_or(0, |info| info.points)
}

#[tokio::test]
async fn whom_a_front_had_in_hand_is_charged_whichever_is_noticed_first() {
    let instance = Instance::start();
    let clients = [(1, GUILTY), (2, INNOCENT)];
    let front = webd(&instance, &clients).await;
    ends(&instance, front).await;
    crashed(&instance, Role::Webd, &[1]);
    assert_eq!(points(&instance, GUILTY), 10, "the channel's end was noticed before");
    let front = webd(&instance, &[(3, GUILTY), (4, INNOCENT)]).await;
    crashed(&instance, Role::Webd, &[3]);
    assert_eq!(points(&instance, GUILTY), 20, "the channel's end was not noticed yet");
    crashed(&instance, Role::Webd, &[3, 4]);
    ends(&instance, front).await;
    crashed(&instance, Role::Webd, &[3, 4]);
    assert_eq!(points(&instance, GUILTY), 20, "a life ends once");
    assert_eq!(points(&instance, INNOCENT), 0);
    assert_eq!(instance.service.0.state().lately.clients(), 0);
}

#[tokio::test]
async fn several_in_hand_share_one_crash() {
    let instance = Instance::start();
    let front = webd(&instance, &[(1, GUILTY), (2, INNOCENT)]).await;
    crashed(&instance, Role::Webd, &[1, 2, 3]);
    assert_eq!((points(&instance, GUILTY), points(&instance, INNOCENT)), (3, 3));
    drop(front);
}

/// Attack class 26: a captured front writes numbers into its recorder and dies: what is not its own is nobody's.
#[tokio::test]
async fn a_front_names_nobody_but_whom_it_holds() {
    let instance = Instance::start();
    let smtpd = life::<SmtpdAuthd>(&instance, SmtpdToAuthd::Client, &[(7, INNOCENT)]).await;
    let unlike = [(7, "smtpd's"), (1, "its life before's"), (2, "closed"), (99, "nobody's")];
    for (named, reason) in unlike {
        let earlier = webd(&instance, &[(1, INNOCENT)]).await;
        ends(&instance, earlier).await;
        let front = webd(&instance, &[(2, INNOCENT), (3, GUILTY)]).await;
        front.call(&Client::Closed(ConnectionId(2)), Vec::new()).await.unwrap();
        crashed(&instance, Role::Webd, &[named, 3]);
        assert_eq!(points(&instance, INNOCENT), 0, "{reason}");
        ends(&instance, front).await;
    }
    assert_eq!(points(&instance, GUILTY), 20, "one that it holds is charged every time, for its half");
    for other in [Role::Imapd, Role::Queued, Role::Authd] {
        crashed(&instance, other, &[7, 3]);
    }
    assert_eq!(points(&instance, INNOCENT), 0);
    drop(smtpd);
}

/// Attack class 27: nothing is kept for a word that does not come.
#[tokio::test]
async fn who_was_connected_is_forgotten_after_a_moment_and_when_the_front_is_back() {
    let instance = Instance::start();
    let front = webd(&instance, &[(1, GUILTY)]).await;
    ends(&instance, front).await;
    assert_eq!(instance.service.0.state().lately.clients(), 1);
    tokio::time::pause();
    tokio::time::advance(PATIENCE + Duration::from_millis(1)).await;
    while instance.service.0.state().lately.clients() > 0 {
        tokio::task::yield_now().await;
    }
    crashed(&instance, Role::Webd, &[1]);
    tokio::time::resume();
    let front = webd(&instance, &[(2, GUILTY)]).await;
    ends(&instance, front).await;
    assert_eq!(instance.service.0.state().lately.clients(), 1);
    let back = webd(&instance, &[]).await;
    assert_eq!(instance.service.0.state().lately.clients(), 0);
    crashed(&instance, Role::Webd, &[2]);
    assert_eq!(points(&instance, GUILTY), 0);
    drop(back);
}

#[tokio::test]
async fn after_a_few_crashes_their_client_is_turned_away_and_its_neighbour_is_not() {
    let instance = Instance::start();
    for connection in 0..4 {
        let front = webd(&instance, &[(connection, GUILTY)]).await;
        ends(&instance, front).await;
        crashed(&instance, Role::Webd, &[connection]);
    }
    let front = webd(&instance, &[]).await;
    for (from, expected) in [
        (GUILTY, ClientReply::TurnedAway(TurnedAway::Abuse)),
        ("192.0.2.2", ClientReply::Admitted),
        (INNOCENT, ClientReply::Admitted),
    ] {
        let knock = Client::Admit(ConnectionId(50), ClientAddress(from.parse().unwrap()));
        assert_eq!(front.call(&knock, Vec::new()).await.unwrap().0, expected, "{from}");
    }
}
