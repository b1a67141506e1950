//! The supervisor's orders, as every front takes them: channels, listeners, sessions, and the end.

use std::{
    future::Future,
    io,
    net::{SocketAddr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::Arc,
    time::Duration,
};

use ipc_proto::{
    Channel, ChannelId, ConnectionId, Violation,
    control::{Event, Order, Service, SessionFacts, Settings},
};
use tokio::task::{AbortHandle, JoinSet};
use worker_lib::{Control, Events, Fault};

use crate::{
    Connections, Door, Handshaker,
    door::ClientChannel,
    handshake::KeydChannel,
    listener::{self, Accepted},
};

/// Told of a channel whose other end broke the rules.
pub type Violated = Box<dyn Fn(Violation) + Send + Sync>;

/// What fronts have in common; the methods that have a body are for orders which not every front is given.
pub trait Front: Sized + Send + Sync + 'static {
    /// Its channel to keyd.
    type Keyd: KeydChannel;
    /// Its channel to authd.
    type Authd: ClientChannel;
    /// How a listener's connections begin.
    type Entrance: Copy + Send + 'static;

    /// TLS.
    fn tls(&self) -> &Handshaker<Self::Keyd>;

    /// Admission.
    fn door(&self) -> &Door<Self::Authd>;

    /// Who is connected.
    fn connections(&self) -> &Connections;

    /// How connections of this service begin; `None`: it is another front's.
    fn entrance(service: Service) -> Option<Self::Entrance>;

    /// One connection, from accept to close.
    fn serve(
        self: Arc<Self>,
        accepted: Accepted,
        entrance: Self::Entrance,
    ) -> impl Future<Output = ()> + Send;

    /// Takes a channel that is neither keyd's nor authd's.
    fn channel(&self, channel: ChannelId, end: UnixStream, violated: Violated) -> Result<(), Fault> {
        drop((end, violated));
        Err(unfit(&format!("the channel {channel:?}")))
    }

    /// Whether the channels are there that it needs beside keyd's and authd's.
    fn is_complete(&self) -> bool {
        true
    }

    /// The stream of a session that a connection waits for.
    fn session(&self, facts: SessionFacts, stream: UnixStream) -> Result<(), Fault> {
        drop(stream);
        Err(unfit(&format!("session {}", facts.session)))
    }

    /// The session of this connection cannot be had now.
    fn session_refused(&self, connection: ConnectionId) -> Result<(), Fault> {
        Err(unfit(&format!("a session refused to {connection}")))
    }

    /// The configuration was read again.
    fn change(&self, settings: Settings);

    /// The end has begun: connections are told to leave next.
    fn stopping(&self) {}
}

fn unfit(what: &str) -> Fault {
    Fault::new(format!("{what} is not for this process; restart moxd"))
}

/// Takes orders until the supervisor says stop or is gone. `make` is told what to do with violations of keyd's.
pub async fn run<F: Front>(
    control: Control,
    make: impl FnOnce(Violated) -> Result<F, Fault>,
) -> Result<(), Fault> {
    let events = control.events();
    let front = Arc::new(make(violated(&events, F::Keyd::ID))?);
    let mut control = control.into_async()?;
    let mut desk = Desk::new(front, events);
    loop {
        tokio::select! {
            order = control.next_order() => {
                let Some((order, fds)) = order? else { return Ok(()) };
                match desk.take(order, fds)? {
                    Next::Go => {}
                    Next::Stop(grace) => {
                        desk.listening.shutdown().await;
                        // The rest of the grace is for the process's own end.
                        stop(&*desk.front, grace.mul_f32(0.9)).await;
                        return Ok(());
                    }
                }
            }
            ready = desk.front.tls().ready(), if !desk.certificates => {
                ready?;
                desk.certificates = true;
            }
            // A listener that cannot be accepted on is for the supervisor to make anew.
            Some(ended) = desk.listening.join_next() => match ended {
                Err(error) if error.is_cancelled() => {}
                ended => return Ok(ended??),
            },
        }
        desk.open();
    }
}

fn violated(events: &Events, channel: ChannelId) -> Violated {
    let events = events.clone();
    Box::new(move |violation| events.violation(channel, None, violation))
}

/// What came from the supervisor so far.
struct Desk<F: Front> {
    front: Arc<F>,
    events: Events,
    certificates: bool,
    /// Nobody is served before there is everything to serve with: a client that came early would be told that there is
    /// no TLS here.
    waiting: Vec<(SocketAddr, TcpListener, F::Entrance)>,
    listening: JoinSet<io::Result<()>>,
    /// How to end each of them.
    addresses: Vec<(SocketAddr, AbortHandle)>,
    told_ready: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Go,
    /// Within so much time.
    Stop(Duration),
}

impl<F: Front> Desk<F> {
    fn new(front: Arc<F>, events: Events) -> Self {
        let (waiting, listening, addresses) = (Vec::new(), JoinSet::new(), Vec::new());
        Self { front, events, certificates: false, waiting, listening, addresses, told_ready: false }
    }

    fn take(&mut self, order: Order, fds: Vec<OwnedFd>) -> Result<Next, Fault> {
        match (order, fds.into_iter().next()) {
            (Order::Channel { channel, account: None, run: _ }, Some(end)) => {
                self.channel(channel, UnixStream::from(end))?;
            }
            (Order::Listener(listener), Some(fd)) => {
                let entrance = F::entrance(listener.service)
                    .ok_or_else(|| unfit(&format!("listener {}", listener.name)))?;
                self.waiting.push((listener.address, TcpListener::from(fd), entrance));
            }
            (Order::ListenerGone(address), None) => {
                self.waiting.retain(|(at, ..)| *at != address);
                for (_, task) in self.addresses.extract_if(.., |(at, _)| *at == address) {
                    task.abort();
                }
            }
            (Order::Settings(settings), None) => self.front.change(*settings),
            (Order::Session(facts), Some(stream)) => self.front.session(facts, UnixStream::from(stream))?,
            (Order::SessionRefused(connection), None) => self.front.session_refused(connection)?,
            (Order::Stop { grace_ms }, None) => {
                return Ok(Next::Stop(Duration::from_millis(u64::from(grace_ms))));
            }
            (
                order @ (Order::Start(_)
                | Order::Channel { .. }
                | Order::ChannelRefused(_)
                | Order::Listener(_)
                | Order::Session(_)
                | Order::SessionRefused(_)
                | Order::Connected(_)
                | Order::ConnectRefused(_)
                | Order::SessionEnded(_)
                | Order::AccountReady(_)
                | Order::AccountRefused(_)
                | Order::Crashed { .. }
                | Order::Quota(_)
                | Order::Guest { .. }
                | Order::Shared { .. }
                | Order::SharedRefused { .. }
                | Order::Full(_)
                | Order::Leave { .. }
                | Order::ListenerGone(_)
                | Order::Settings(_)
                | Order::Stop { .. }
                | Order::Ping(_)
                | Order::Attack(_)
                | Order::Waking(_)
                | Order::Resume(_)),
                _,
            ) => return Err(unfit(&format!("the order {order:?}"))),
        }
        Ok(Next::Go)
    }

    fn channel(&self, channel: ChannelId, end: UnixStream) -> Result<(), Fault> {
        let violated = violated(&self.events, channel);
        if channel == F::Keyd::ID {
            self.front.tls().set_channel(end)?;
        } else if channel == F::Authd::ID {
            self.front.door().set_channel(end, violated)?;
        } else {
            self.front.channel(channel, end, violated)?;
        }
        Ok(())
    }

    /// Serves, once there is everything to serve with.
    fn open(&mut self) {
        if !(self.certificates && self.front.door().is_connected() && self.front.is_complete()) {
            return;
        }
        for (address, listener, entrance) in self.waiting.drain(..) {
            let task = self.listening.spawn(listen(Arc::clone(&self.front), listener, entrance));
            self.addresses.push((address, task));
        }
        if !self.told_ready && !self.listening.is_empty() {
            self.told_ready = true;
            self.events.send(Event::Ready);
        }
    }
}

/// Lets nobody in any more and tells all connections to leave. Returns when they are gone, or after `grace`: who is left
/// then is cut off with the process.
pub async fn stop<F: Front>(front: &F, grace: Duration) {
    front.stopping();
    let connections = front.connections();
    connections.close_all();
    if tokio::time::timeout(grace, connections.all_gone()).await.is_err() {
        tracing::info!(connections = connections.count(), "stopped with connections left");
    }
}

/// Accepts on `listener` until the future is dropped or the listener fails.
pub async fn listen<F: Front>(front: Arc<F>, listener: TcpListener, entrance: F::Entrance) -> io::Result<()> {
    let connections = front.connections().clone();
    listener::serve(listener, connections, move |accepted| Arc::clone(&front).serve(accepted, entrance)).await
}

#[cfg(test)]
mod tests {
    use std::{io::Read, num::NonZeroUsize};

    use ipc_proto::{
        authd::WebdAuthd,
        control::{EVENT_SIZE, Listener},
        tls::WebdKeyd,
        types::Run,
    };

    use super::*;
    use crate::{Limits, TlsSettings};

    struct Web {
        tls: Handshaker<WebdKeyd>,
        door: Door<WebdAuthd>,
        connections: Connections,
    }

    impl Front for Web {
        type Keyd = WebdKeyd;
        type Authd = WebdAuthd;
        type Entrance = ();

        fn tls(&self) -> &Handshaker<WebdKeyd> {
            &self.tls
        }

        fn door(&self) -> &Door<WebdAuthd> {
            &self.door
        }

        fn connections(&self) -> &Connections {
            &self.connections
        }

        fn entrance(service: Service) -> Option<()> {
            (service == Service::Http).then_some(())
        }

        async fn serve(self: Arc<Self>, _: Accepted, (): ()) {}

        fn change(&self, _: Settings) {}
    }

    /// A desk, and what it says to the supervisor.
    fn desk() -> (Desk<Web>, UnixStream) {
        let some = NonZeroUsize::new(10).unwrap();
        let settings =
            TlsSettings { alpn: &[], tickets: false, timeout: Duration::from_secs(5), at_once: some };
        let web = Web {
            tls: Handshaker::start(&settings, |violation| panic!("{violation}")).unwrap(),
            door: Door::default(),
            connections: Connections::new(Limits { total: some, fresh: some }),
        };
        let (events, said) = UnixStream::pair().unwrap();
        said.set_nonblocking(true).unwrap();
        (Desk::new(Arc::new(web), Events::new(events)), said)
    }

    fn listener(service: Service) -> (Order, Vec<OwnedFd>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let order = Order::Listener(Listener { name: "here".to_owned(), address, service });
        (order, Vec::from([OwnedFd::from(listener)]), address)
    }

    fn channel(channel: ChannelId) -> (Order, Vec<OwnedFd>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Order::Channel { channel, account: None, run: Run(1) }, Vec::from([OwnedFd::from(ours)]), theirs)
    }

    #[tokio::test]
    async fn nobody_is_served_before_there_is_everything_to_serve_with() {
        let (mut desk, mut said) = desk();
        let (order, fds, address) = listener(Service::Http);
        desk.take(order, fds).unwrap();
        desk.certificates = true;
        desk.open();
        assert!(desk.listening.is_empty() && said.read(&mut [0; 1]).is_err());
        let (order, fds, _authd) = channel(ChannelId::WebdAuthd);
        desk.take(order, fds).unwrap();
        desk.open();
        assert_eq!(desk.listening.len(), 1);
        let mut event = [0; EVENT_SIZE];
        said.read_exact(&mut event).unwrap();
        assert_eq!(event, Event::Ready.to_bytes());
        // The next one is served at once, and Ready is not said again.
        let (order, fds, _) = listener(Service::Http);
        desk.take(order, fds).unwrap();
        desk.open();
        assert!(desk.listening.len() == 2 && said.read(&mut [0; 1]).is_err());
        desk.take(Order::ListenerGone(address), Vec::new()).unwrap();
        assert!(desk.listening.join_next().await.unwrap().unwrap_err().is_cancelled());
        assert_eq!(desk.listening.len(), 1);
    }

    #[tokio::test]
    async fn a_listener_that_is_gone_before_it_was_served_never_is() {
        let (mut desk, _said) = desk();
        let (order, fds, address) = listener(Service::Http);
        desk.take(order, fds).unwrap();
        desk.take(Order::ListenerGone(address), Vec::new()).unwrap();
        assert!(desk.waiting.is_empty());
    }

    #[tokio::test]
    async fn what_is_another_processs_is_a_fault() {
        let (mut desk, _said) = desk();
        let (imap, imap_fds, _) = listener(Service::Imap);
        let (queued, queued_fds, _end) = channel(ChannelId::SmtpdQueued);
        for (order, fds, reason) in [
            (imap, imap_fds, "listener here is not for this process"),
            (queued, queued_fds, "the channel SmtpdQueued is not for this process"),
            (Order::Leave { asked: true }, Vec::new(), "the order Leave"),
            (Order::SessionRefused(ConnectionId(1)), Vec::new(), "a session refused to"),
            (
                Order::Channel { channel: ChannelId::WebdAuthd, account: None, run: Run(1) },
                Vec::new(),
                "the order Channel",
            ),
        ] {
            let fault = desk.take(order, fds).unwrap_err().to_string();
            assert!(fault.starts_with(reason) && fault.ends_with("restart moxd"), "{fault}");
        }
        let next = desk.take(Order::Stop { grace_ms: 1500 }, Vec::new()).unwrap();
        assert_eq!(next, Next::Stop(Duration::from_millis(1500)));
    }
}
