//! One client, from accept to close.

use std::{io, sync::Arc, time::Duration};

use ipc_proto::{
    ConnectionId,
    authd::{AuthdToImapd, ImapdAuthd, ImapdToAuthd, Login, Offence},
    control::SessionFacts,
    sasl::{SaslReply, SaslStep, Transport},
    types::Protocol,
};
use net_lib::{
    Admitted, Place,
    listener::{Accepted, Ended, catch_panic},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::{Instant, sleep, timeout, timeout_at},
};
use zeroize::Zeroize;

use super::{
    Front,
    dialogue::{Ask, Dialogue, Privacy, Reason, Step, bye},
    relay::{self, End},
    wire::Wire,
};

/// How long a client may take to see the end, so that the last words are not lost with what it still sends.
const LINGER: Duration = Duration::from_secs(2);

/// Octets of a stranger that are read at once.
const READ: usize = 2048;

/// How a listener's connections begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// In the clear, with STARTTLS.
    StartTls,
    /// With a TLS handshake.
    Tls,
}

/// Why a stranger's connection ended.
#[derive(Debug, thiserror::Error)]
enum Over {
    #[error("the client closed")]
    Closed,
    #[error("{0:?}")]
    Said(Reason),
    #[error("too slow")]
    Slow,
    #[error("made room for others")]
    Left,
    #[error("{0}")]
    Tls(#[from] net_lib::HandshakeError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// From accept to close.
pub(crate) async fn serve(front: Arc<Front>, accepted: Accepted, entrance: Entrance) {
    let Accepted { stream, peer, place } = accepted;
    let connection = place.id();
    tracing::debug!(%connection, %peer, "connected");
    let admitted = match front.door.admit(connection, peer).await {
        Ok(admitted) => admitted,
        Err(why) => {
            tracing::info!(%connection, %peer, "turned away: {why}");
            if entrance == Entrance::StartTls {
                let mut out = Vec::new();
                bye(&mut out, &why.to_string());
                // One line fits every new socket; who does not take it has no time to lose.
                let _ = stream.try_write(&out);
            }
            return;
        }
    };
    let mut client = Client {
        local: peer.ip().to_canonical().is_loopback(),
        front: &front,
        place: &place,
        admitted,
        connection,
    };
    match catch_panic(client.run(stream, entrance)).await {
        Ended::Done => {}
        Ended::Panicked => {
            tracing::error!(%connection, %peer, "the connection's handler panicked");
            client.admitted.charge(Offence::Crash);
        }
    }
}

struct Client<'f> {
    front: &'f Front,
    place: &'f Place,
    admitted: Admitted<ImapdAuthd>,
    connection: ConnectionId,
    /// On this machine.
    local: bool,
}

/// A login that has its session.
struct Established {
    wire: Wire,
    facts: SessionFacts,
    session: UnixStream,
    /// What the client sent behind its login.
    behind: Vec<u8>,
}

impl Client<'_> {
    async fn run(&mut self, stream: TcpStream, entrance: Entrance) {
        let connection = self.connection;
        // The stranger's part of the future is large; it is freed before the long part begins.
        match Box::pin(self.before_login(stream, entrance)).await {
            Ok(established) => self.session(established).await,
            Err(over) => {
                tracing::info!(%connection, "ended before login: {over}");
                match over {
                    Over::Said(Reason::Injection) => self.admitted.charge(Offence::Smuggling),
                    Over::Said(Reason::Bounds) => self.admitted.charge(Offence::Bounds),
                    Over::Said(Reason::Logout | Reason::Errors)
                    | Over::Closed
                    | Over::Slow
                    | Over::Left
                    | Over::Tls(_)
                    | Over::Io(_) => {}
                }
            }
        }
    }

    async fn before_login(&mut self, stream: TcpStream, entrance: Entrance) -> Result<Established, Over> {
        let clear = if self.local && self.front.settings.now().plain_login_on_loopback {
            Privacy::Private(Transport::Loopback)
        } else {
            Privacy::Clear
        };
        let (wire, privacy) = match entrance {
            Entrance::StartTls => (Wire::Plain(stream), clear),
            Entrance::Tls => self.handshake(stream).await?,
        };
        let mut talk = Talk {
            wire,
            dialogue: Dialogue::new(privacy),
            input: Input(Vec::with_capacity(READ)),
            out: Vec::new(),
            limit: Duration::from_millis(u64::from(self.front.settings.now().login_timeout_ms)),
        };
        talk.dialogue.greet(&self.front.hostname, &mut talk.out);
        let mut deadline = Instant::now() + talk.limit;
        let mut step = Step::Next;
        loop {
            step = match step {
                Step::Next => {
                    deadline = Instant::now() + talk.limit;
                    talk.take()
                }
                // Who did not wait for the continuation has sent more already.
                Step::Read if !talk.input.0.is_empty() => talk.take(),
                Step::Read => {
                    talk.flush().await?;
                    tokio::select! {
                        () = self.place.told_to_leave() => {
                            talk.say_bye("too many connections").await;
                            return Err(Over::Left);
                        }
                        read = timeout_at(deadline, talk.read()) => match read {
                            Ok(result) => result?,
                            Err(_) => {
                                talk.say_bye("too slow").await;
                                return Err(Over::Slow);
                            }
                        },
                    }
                    talk.take()
                }
                Step::StartTls => {
                    talk.flush().await?;
                    let Wire::Plain(stream) = talk.wire else { return Err(Over::Closed) };
                    let (wire, privacy) = self.handshake(stream).await?;
                    talk.wire = wire;
                    talk.dialogue = Dialogue::new(privacy);
                    Step::Next
                }
                Step::Login(attempt) => {
                    // What was answered before need not wait for authd.
                    talk.flush().await?;
                    let tag = attempt.tag.clone();
                    match self.login(attempt.ask).await {
                        Judged::More(challenge) => {
                            deadline = Instant::now() + talk.limit;
                            talk.dialogue.challenge(tag, &challenge, &mut talk.out)
                        }
                        Judged::Yes(facts, session) => {
                            Dialogue::logged_in(&tag, facts.without, self.front.message_size, &mut talk.out);
                            self.place.establish();
                            talk.flush().await?;
                            let behind = std::mem::take(&mut talk.input.0);
                            return Ok(Established { wire: talk.wire, facts, session, behind });
                        }
                        Judged::No => talk.dialogue.denied(&tag, &mut talk.out),
                        Judged::Later => talk.dialogue.unavailable(&tag, &mut talk.out),
                        Judged::OnlyAsYourself => talk.dialogue.only_as_yourself(&tag, &mut talk.out),
                    }
                }
                Step::Cancel => {
                    let request = ImapdToAuthd::Sasl(self.connection, SaslStep::Cancel);
                    if let Err(error) = self.front.door.link().call(&request, Vec::new()).await {
                        tracing::debug!(connection = %self.connection, %error, "authd was not told of a cancel");
                    }
                    Step::Next
                }
                Step::Close(reason) => {
                    talk.flush().await?;
                    close(&mut talk.wire).await;
                    return Err(Over::Said(reason));
                }
            };
        }
    }

    async fn handshake(&self, stream: TcpStream) -> Result<(Wire, Privacy), Over> {
        tokio::select! {
            () = self.place.told_to_leave() => Err(Over::Left),
            result = self.front.tls.accept_asking(self.place.id(), stream) => {
                let (stream, proof) = result?;
                let transport = net_lib::sasl_transport(&stream, proof);
                Ok((Wire::Tls(Box::new(stream)), Privacy::Private(transport)))
            }
        }
    }

    async fn login(&mut self, ask: Ask) -> Judged {
        let connection = self.connection;
        if let Err(error) = self.admitted.renew().await {
            tracing::info!(%connection, "login not judged: {error}");
            return Judged::Later;
        }
        let mut expected = self.front.sessions.expect(connection);
        let request = match ask {
            Ask::Password { user, password } => ImapdToAuthd::Login { connection, user, password },
            Ask::Sasl(step) => ImapdToAuthd::Sasl(connection, step),
        };
        let reply = self.front.door.link().call(&request, Vec::new()).await;
        drop(request);
        let login = match reply {
            Ok((AuthdToImapd::Login(login) | AuthdToImapd::Sasl(SaslReply::Ended(login)), _)) => login,
            Ok((AuthdToImapd::Sasl(SaslReply::Challenge(challenge)), _)) => return Judged::More(challenge),
            Ok((AuthdToImapd::Client(_) | AuthdToImapd::Sasl(SaslReply::Cancelled), _)) => {
                tracing::warn!(%connection, "authd answered another question than the login");
                return Judged::Later;
            }
            Err(error) => {
                tracing::warn!(%connection, "login not judged: {error}");
                return Judged::Later;
            }
        };
        let session = match login {
            Login::Ok(session) => session,
            Login::Denied { .. } => {
                tracing::info!(%connection, "login denied");
                sleep(login.wait()).await;
                return Judged::No;
            }
            Login::TryLater => {
                tracing::info!(%connection, "login put off");
                return Judged::Later;
            }
            Login::OnlyAsYourself => return Judged::OnlyAsYourself,
        };
        match timeout(self.front.session_wait, expected.arrival()).await {
            Ok(Some((facts, stream))) if facts.session == session && facts.protocol == Protocol::Imap => {
                match into_tokio(stream) {
                    Ok(stream) => return Judged::Yes(facts, stream),
                    Err(error) => {
                        tracing::warn!(%connection, %session, %error, "the session's stream is unfit")
                    }
                }
            }
            Ok(Some(_)) => tracing::warn!(%connection, %session, "another session came"),
            Ok(None) => tracing::info!(%connection, %session, "the account's process cannot be had now"),
            Err(_) => tracing::warn!(%connection, %session, "the session did not come"),
        }
        Judged::Later
    }

    async fn session(&self, established: Established) {
        let Established { mut wire, facts, mut session, behind } = established;
        let (connection, account) = (self.connection, facts.account);
        tracing::info!(%connection, %account, session = %facts.session, "logged in");
        let (end, passed) = relay::relay(&mut wire, &mut session, behind, self.place.told_to_leave()).await;
        drop(session);
        match &end {
            End::Session | End::Left => close(&mut wire).await,
            End::Failed(_) => {}
        }
        tracing::info!(%connection, %account, up = passed.up, down = passed.down, "ended: {end}");
    }
}

/// What authd and the supervisor made of a login.
enum Judged {
    /// The client is to answer this.
    More(Vec<u8>),
    Yes(SessionFacts, UnixStream),
    No,
    Later,
    OnlyAsYourself,
}

fn into_tokio(stream: std::os::unix::net::UnixStream) -> io::Result<UnixStream> {
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// Octets of the client that are not taken yet; they may hold a password.
#[derive(Debug)]
struct Input(Vec<u8>);

impl Input {
    /// Drops the first `count` octets, and wipes where they were.
    fn consume(&mut self, count: usize) {
        let count = count.min(self.0.len());
        let left = self.0.len() - count;
        self.0.copy_within(count.., 0);
        if let Some(old) = self.0.get_mut(left..) {
            old.zeroize();
        }
        self.0.truncate(left);
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A stranger's connection.
struct Talk {
    wire: Wire,
    dialogue: Dialogue,
    input: Input,
    out: Vec<u8>,
    /// For one whole command, and for the client to take an answer.
    limit: Duration,
}

impl Talk {
    fn take(&mut self) -> Step {
        let mut rest = self.input.0.as_slice();
        let step = self.dialogue.take(&mut rest, &mut self.out);
        let taken = self.input.0.len() - rest.len();
        self.input.consume(taken);
        step
    }

    /// Cancel-safe. All input was taken before: the buffer is empty and does not grow.
    async fn read(&mut self) -> Result<(), Over> {
        match self.wire.read_buf(&mut self.input.0).await? {
            0 => Err(Over::Closed),
            _ => Ok(()),
        }
    }

    async fn flush(&mut self) -> Result<(), Over> {
        if self.out.is_empty() {
            return Ok(());
        }
        let send = async {
            self.wire.write_all(&self.out).await?;
            self.wire.flush().await
        };
        timeout(self.limit, send).await.map_err(|_| Over::Slow)??;
        self.out.clear();
        Ok(())
    }

    async fn say_bye(&mut self, text: &str) {
        bye(&mut self.out, text);
        self.limit = self.limit.min(LINGER);
        if self.flush().await.is_ok() {
            close(&mut self.wire).await;
        }
    }
}

/// Says that no more comes, and waits a little for the client to see it: closing at once, with octets of the client
/// unread, would take back what was sent last.
async fn close(wire: &mut Wire) {
    let end = async {
        wire.shutdown().await?;
        let mut unread = [0; 512];
        while wire.read(&mut unread).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = timeout(LINGER, end).await;
}
