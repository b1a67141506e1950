//! The front over loopback sockets, with peers that play authd, queued and keyd.

mod peers;
mod submission;

use std::{io, num::NonZeroUsize, os::fd::OwnedFd, sync::Arc, time::Duration};

use ipc_proto::{
    authd::{Offence, TurnedAway},
    delivery::Outcome,
};
use rustls::crypto::{GetRandomFailed, SecureRandom};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use self::peers::{Fixture, Queued, settings};
use super::*;

/// A client that writes octets and reads whole replies.
struct Client<S> {
    stream: S,
    input: Vec<u8>,
}

impl Client<TcpStream> {
    async fn connect(fixture: &Fixture) -> Self {
        let stream = TcpStream::connect(fixture.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, input: Vec::new() }
    }

    async fn greeted(fixture: &Fixture) -> Self {
        let mut client = Self::connect(fixture).await;
        assert_eq!(client.reply().await, "220 mx.example ESMTP moxd\n");
        client.send("EHLO client.example\r\n").await;
        assert!(client.reply().await.contains("250-STARTTLS\n"));
        client
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    async fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.stream.write_all(octets.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// One reply, its lines each with LF; empty at the end of the connection.
    async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            while let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.input.drain(..end + 2).collect();
                let line = String::from_utf8(line).unwrap();
                reply.push_str(line.trim_end());
                reply.push('\n');
                if line.as_bytes().get(3) != Some(&b'-') {
                    return reply;
                }
            }
            let read = timeout(Duration::from_secs(15), self.stream.read_buf(&mut self.input));
            match read.await.expect("a reply in time") {
                Ok(0) | Err(_) => return reply,
                Ok(_) => {}
            }
        }
    }

    async fn say(&mut self, octets: impl AsRef<[u8]>) -> String {
        self.send(octets).await;
        self.reply().await
    }

    /// To the reply to the message's end.
    async fn deliver(&mut self, message: impl AsRef<[u8]>) -> String {
        self.send("MAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org>\r\nDATA\r\n").await;
        assert!(self.reply().await.starts_with("250 "));
        assert!(self.reply().await.starts_with("250 "));
        assert!(self.reply().await.starts_with("354 "));
        self.send(message).await;
        self.reply().await
    }
}

#[tokio::test]
async fn a_small_message_reaches_queued_sealed_and_whole() {
    let fixture = Fixture::start(settings()).await;
    let mut client = Client::greeted(&fixture).await;
    let reply = client.deliver("Subject: x\r\n\r\n..dot\r\n.\r\n").await;
    let (deliver, octets, sealed) = fixture.take_delivery();
    assert_eq!(reply, format!("250 2.0.0 kept as {}\n", deliver.id));
    assert_eq!(octets, b"Subject: x\r\n\r\n.dot\r\n");
    assert!(sealed && deliver.spool.is_none());
    assert_eq!(deliver.size, 20);
    assert_eq!(deliver.reverse_path.unwrap().to_string(), "a@b.org");
    assert_eq!(deliver.recipients.len(), 1);
    let trace = String::from_utf8(deliver.trace).unwrap();
    assert!(
        trace.starts_with("Received: from client.example ([127.0.0.1])\r\n\tby mx.example with ESMTP\r\n")
    );
    assert!(trace.contains(&format!("\tid {}\r\n\tfor <c@d.org>;", deliver.id)), "{trace}");

    assert!(client.deliver(".\r\n").await.starts_with("250 2.0.0"), "an empty message is one");
    assert_eq!(fixture.take_delivery().1, b"");
    assert_eq!(client.say("QUIT\r\n").await, "221 2.0.0 bye\n");
    assert_eq!(client.reply().await, "");
}

#[tokio::test]
async fn a_large_message_reaches_queued_in_the_file_that_it_opened() {
    let message = "0123456789abcdef".repeat(80_000);
    for mail in ["MAIL FROM:<a@b.org>", "MAIL FROM:<a@b.org> SIZE=1280004"] {
        let fixture = Fixture::start(settings()).await;
        let mut client = Client::greeted(&fixture).await;
        client.send(format!("{mail}\r\nRCPT TO:<c@d.org>\r\nDATA\r\n{message}\r\n.\r\n")).await;
        for code in ["250 2.1.0", "250 2.1.5", "354", "250 2.0.0"] {
            let reply = client.reply().await;
            assert!(reply.starts_with(code), "{reply}");
        }
        let (deliver, octets, sealed) = fixture.take_delivery();
        assert!(deliver.spool.is_some() && !sealed);
        assert_eq!(octets.len(), message.len() + 2);
        assert!(octets.starts_with(message.as_bytes()));
        assert_eq!(deliver.size, 1_280_002);
    }
}

/// The client of a message whose answer is lost must not have to send it again: it may be filed already.
#[tokio::test]
async fn when_queued_dies_the_next_one_is_asked_about_the_same_message() {
    const HOLD: Queued = Queued { outcome: Some(Outcome::Filed), spool: true, hold: true };
    let later = Queued { outcome: Some(Outcome::TryLater { no_space: false }), ..Queued::default() };
    for octets in [10, 1_500_000] {
        let fixture = Fixture::start_with(settings(), HOLD).await;
        let mut client = Client::greeted(&fixture).await;
        client.send("MAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org>\r\nDATA\r\n").await;
        for _ in 0..3 {
            client.reply().await;
        }
        client.send("x".repeat(octets) + "\r\n.\r\n").await;
        fixture.delivery_arrives().await;
        let first = fixture.take_delivery();
        fixture.restart_queued(HOLD);
        fixture.delivery_arrives().await;
        assert!(fixture.take_delivery() == first, "{octets}: the same, under the same id");
        // One that cannot tell whether it is filed is no answer either.
        fixture.restart_queued(later);
        fixture.delivery_arrives().await;
        fixture.restart_queued(Queued::default());
        assert_eq!(client.reply().await, format!("250 2.0.0 kept as {}\n", first.0.id));
        assert!(first.0.spool.is_some() == (octets > 1_000_000));
        if first.0.spool.is_some() {
            fixture.spool_file_is_forgotten().await;
        }
    }
}

/// A message that never became whole leaves nothing at queued.
#[tokio::test]
async fn the_spool_file_of_a_client_that_goes_is_forgotten() {
    let fixture = Fixture::start(settings()).await;
    let mut client = Client::greeted(&fixture).await;
    client.send("MAIL FROM:<a@b.org> SIZE=2000000\r\nRCPT TO:<c@d.org>\r\nDATA\r\n").await;
    client.send("x".repeat(200_000)).await;
    drop(client);
    fixture.spool_file_is_forgotten().await;
    assert!(fixture.has_no_delivery());
}

#[tokio::test]
async fn without_room_the_client_is_told_to_try_later_and_may_go_on() {
    let none = Settings { memory_budget: 0, ..settings() };
    let fixture = Fixture::start(none.clone()).await;
    let mut client = Client::greeted(&fixture).await;
    assert!(client.deliver("small\r\n.\r\n").await.starts_with("250 "));
    assert!(fixture.take_delivery().0.spool.is_some(), "no budget: even a small one goes to a file");

    let fixture = Fixture::start_with(none, Queued { spool: false, ..Queued::default() }).await;
    let mut client = Client::greeted(&fixture).await;
    assert_eq!(
        client.deliver("small\r\n.\r\n").await,
        "452 4.3.1 no space for this message now, try later\n"
    );
    let large = "x".repeat(200_000) + "\r\n.\r\n";
    assert_eq!(client.deliver(large).await, "452 4.3.1 no space for this message now, try later\n");
    assert_eq!(client.say("NOOP\r\n").await, "250 2.0.0 ok\n");
}

#[tokio::test]
async fn pipelined_recipients_are_asked_about_at_once_and_answered_in_order() {
    let fixture = Fixture::start(settings()).await;
    let mut client = Client::greeted(&fixture).await;
    // The fake authd holds answers to `hold*` until there are three, then gives them in reverse.
    client
        .send("MAIL FROM:<a@b.org>\r\nRCPT TO:<hold1@d.org>\r\nRCPT TO:<hold-unknown@d.org>\r\nRCPT TO:<hold3@d.org>\r\n")
        .await;
    for code in ["250 2.1.0", "250 2.1.5", "550 5.1.1", "250 2.1.5"] {
        let reply = client.reply().await;
        assert!(reply.starts_with(code), "{reply}");
    }
}

#[tokio::test]
async fn silence_of_a_peer_is_a_temporary_failure() {
    let fixture = Fixture::start(settings()).await;
    let mut client = Client::greeted(&fixture).await;
    assert!(client.say("MAIL FROM:<a@b.org>\r\n").await.starts_with("250 "));
    assert_eq!(client.say("RCPT TO:<silent@d.org>\r\n").await, "451 4.3.0 local error, try later\n");
    assert!(client.say("RCPT TO:<c@d.org>\r\n").await.starts_with("250 "));

    let fixture = Fixture::start_with(settings(), Queued { outcome: None, ..Queued::default() }).await;
    let mut client = Client::greeted(&fixture).await;
    assert_eq!(client.deliver("x\r\n.\r\n").await, "451 4.3.0 local error, try later\n");
}

#[tokio::test]
async fn refusals_of_queued_reach_the_client() {
    for (outcome, reply) in [
        (Outcome::Stored, "250 2.0.0 "),
        (Outcome::NoSuchRecipient, "550 5.1.1 "),
        (Outcome::MailboxFull, "452 4.2.2 "),
        (Outcome::Disabled, "450 4.2.1 "),
        (Outcome::TryLater { no_space: true }, "452 4.3.1 "),
        (Outcome::TryLater { no_space: false }, "451 4.3.0 "),
    ] {
        let queued = Queued { outcome: Some(outcome), ..Queued::default() };
        let fixture = Fixture::start_with(settings(), queued).await;
        let mut client = Client::greeted(&fixture).await;
        let answer = client.deliver("x\r\n.\r\n").await;
        assert!(answer.starts_with(reply), "{answer}");
    }
}

#[tokio::test]
async fn clients_that_authd_turns_away_are_told_why() {
    let fixture = Fixture::start(settings()).await;
    fixture.turn_away(Some(TurnedAway::Rate));
    let mut client = Client::connect(&fixture).await;
    assert_eq!(client.reply().await, "421 4.7.0 too many new connections from your network, try later\n");
    assert_eq!(client.reply().await, "");
    fixture.turn_away(None);
    Client::greeted(&fixture).await;
}

#[tokio::test]
async fn tls_starts_and_the_trace_field_says_so() {
    let fixture = Fixture::start(settings()).await;
    let mut client = Client::greeted(&fixture).await;
    assert!(client.say("STARTTLS\r\n").await.starts_with("220 "));
    let mut client = Client { stream: fixture.handshake(client.stream).await.unwrap(), input: Vec::new() };
    assert_eq!(client.say("MAIL FROM:<a@b.org>\r\n").await, "503 5.5.1 send EHLO first\n");
    assert!(!client.say("EHLO client.example\r\n").await.contains("STARTTLS"));
    assert!(client.deliver("x\r\n.\r\n").await.starts_with("250 "));
    let trace = String::from_utf8(fixture.take_delivery().0.trace).unwrap();
    assert!(trace.contains("with ESMTPS (TLSv1.3 TLS13_"), "{trace}");
    assert_eq!(client.say("QUIT\r\n").await, "221 2.0.0 bye\n");
}

/// Attack class 1: commands in the packet that starts TLS.
#[tokio::test]
async fn octets_behind_starttls_end_the_session_and_are_charged() {
    let fixture = Fixture::start(settings()).await;
    let mut client = Client::greeted(&fixture).await;
    client.send("STARTTLS\r\nMAIL FROM:<evil@b.org>\r\n").await;
    assert!(client.reply().await.starts_with("554 5.5.1 "));
    assert_eq!(client.reply().await, "");
    assert_eq!(fixture.next_charge().await, Offence::Smuggling);
}

/// Attack class 3, with the charge that it costs.
#[tokio::test]
async fn smuggling_is_refused_charged_and_ends_the_session() {
    let fixture = Fixture::start(settings()).await;
    let mut client = Client::greeted(&fixture).await;
    assert!(client.deliver("a\n.\r\nMAIL FROM:<evil@b.org>\r\n.\r\n").await.starts_with("554 5.6.0 bare LF"));
    assert_eq!(client.reply().await, "");
    assert_eq!(fixture.next_charge().await, Offence::Smuggling);
    assert!(fixture.has_no_delivery());
}

/// Attack class 6: a line without end costs neither memory nor time.
#[tokio::test]
async fn a_line_without_end_is_cut_off_and_charged() {
    let fixture = Fixture::start(settings()).await;
    let mut client = Client::connect(&fixture).await;
    client.reply().await;
    client.send([b'x'; 4096]).await;
    assert_eq!(client.reply().await, "500 5.5.2 line too long\n");
    assert_eq!(fixture.next_charge().await, Offence::Bounds);
}

/// Attack class 14: one octet now and then. The line has a deadline, not its octets; so has a message.
#[tokio::test]
async fn a_command_or_message_that_trickles_in_is_timed_out() {
    let quick = Settings {
        command_timeout: Duration::from_millis(300),
        data_timeout: Duration::from_millis(600),
        ..settings()
    };
    let fixture = Fixture::start(quick).await;
    let mut client = Client::greeted(&fixture).await;
    let began = Instant::now();
    assert_eq!(trickle(&mut client).await, "421 4.4.2 timed out\n");
    assert!(began.elapsed() < Duration::from_secs(3));

    let mut client = Client::greeted(&fixture).await;
    client.send("MAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org>\r\nDATA\r\n").await;
    for _ in 0..3 {
        client.reply().await;
    }
    let began = Instant::now();
    assert_eq!(trickle(&mut client).await, "421 4.4.2 timed out\n");
    assert!((Duration::from_millis(400)..Duration::from_secs(3)).contains(&began.elapsed()));
}

/// Sends an octet every 50 ms until there is a reply.
async fn trickle(client: &mut Client<TcpStream>) -> String {
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    loop {
        tokio::select! {
            reply = client.stream.read_buf(&mut client.input) => {
                reply.unwrap();
                return client.reply().await;
            }
            _ = pace.tick() => drop(client.stream.try_write(b"x")),
        }
    }
}

/// Attack class 15: at the limit the oldest connection without a recipient makes room; who sends mail stays.
#[tokio::test]
async fn the_oldest_idle_connection_makes_room() {
    let two = Settings { connections: NonZeroUsize::new(2).unwrap(), ..settings() };
    let fixture = Fixture::start(two).await;
    let mut sender = Client::greeted(&fixture).await;
    assert!(sender.deliver("x\r\n.\r\n").await.starts_with("250 "));
    let mut idle = Client::greeted(&fixture).await;
    let mut newest = Client::greeted(&fixture).await;
    assert_eq!(idle.reply().await, "421 4.3.2 too many connections, try later\n");
    assert!(sender.deliver("x\r\n.\r\n").await.starts_with("250 "));
    assert_eq!(newest.say("NOOP\r\n").await, "250 2.0.0 ok\n");
}

/// Attack class 14 and 15: a handshake that does not go on makes room like any idle connection.
#[tokio::test]
async fn a_stuck_handshake_makes_room() {
    let one = Settings { connections: NonZeroUsize::MIN, ..settings() };
    let fixture = Fixture::start(one).await;
    let mut stuck = Client::greeted(&fixture).await;
    assert!(stuck.say("STARTTLS\r\n").await.starts_with("220 "));
    Client::greeted(&fixture).await;
    assert_eq!(stuck.reply().await, "");
}

#[tokio::test]
async fn stopping_finishes_what_is_being_acknowledged() {
    let hold = Queued { hold: true, ..Queued::default() };
    let fixture = Fixture::start_with(settings(), hold).await;
    let mut idle = Client::greeted(&fixture).await;
    let mut sender = Client::greeted(&fixture).await;
    sender.send("MAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org>\r\nDATA\r\n").await;
    for _ in 0..3 {
        sender.reply().await;
    }
    sender.send("x\r\n.\r\n").await;
    fixture.delivery_arrives().await;
    let stopped = tokio::spawn({
        let front = Arc::clone(&fixture.front);
        async move { front::stop(&*front, Duration::from_secs(20)).await }
    });
    assert_eq!(idle.reply().await, "421 4.3.2 shutting down, try again\n");
    drop(idle);
    fixture.release();
    assert!(sender.reply().await.starts_with("250 2.0.0 kept as "));
    assert_eq!(sender.reply().await, "421 4.3.2 shutting down, try again\n");
    drop(sender);
    stopped.await.unwrap();
    assert_eq!(fixture.front.connections.count(), 0);
}

#[derive(Debug)]
struct Broken;

impl SecureRandom for Broken {
    fn fill(&self, _: &mut [u8]) -> Result<(), GetRandomFailed> {
        panic!("as a fault of ours would");
    }
}

#[tokio::test]
async fn a_panic_ends_its_connection_only_and_is_charged() {
    let fixture =
        Fixture::start_prepared(settings(), Queued::default(), |front| front.random = &Broken).await;
    let mut other = Client::greeted(&fixture).await;
    let mut client = Client::greeted(&fixture).await;
    assert_eq!(client.deliver("x\r\n.\r\n").await, "");
    assert_eq!(fixture.next_charge().await, Offence::Crash);
    assert_eq!(other.say("NOOP\r\n").await, "250 2.0.0 ok\n");
    Client::greeted(&fixture).await;
}

#[tokio::test]
async fn a_client_whose_message_was_refused_is_slowed_down_unless_it_is_exempt() {
    for (loopback_exempt, range) in [(true, 0..900), (false, 900..8000)] {
        let tarpit = Settings {
            tarpit: true,
            loopback_exempt,
            command_timeout: Duration::from_millis(5500),
            ..settings()
        };
        let fixture = Fixture::start(tarpit).await;
        let mut client = Client::greeted(&fixture).await;
        let began = Instant::now();
        let loops = "Received: x\r\n".repeat(101) + ".\r\n";
        assert!(client.deliver(loops).await.starts_with("550 5.4.6 "));
        assert_eq!(client.say("NOOP\r\n").await, "250 2.0.0 ok\n");
        assert!(range.contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_connection_at_rest_is_small() {
    let fixture = Fixture::start(settings()).await;
    let stream = TcpStream::connect(fixture.address).await.unwrap();
    let peer = stream.local_addr().unwrap();
    let place = Arc::new(fixture.front.connections.enter().unwrap());
    let future =
        connection::serve(Arc::clone(&fixture.front), Accepted { stream, peer, place }, Entrance::StartTls);
    assert!(size_of_val(&future) < 6 * 1024, "{} octets", size_of_val(&future));
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Attack class 15: what an idle connection costs, its client's end in this process included.
#[tokio::test]
async fn idle_connections_are_cheap() {
    const COUNT: usize = 200;
    let room = NonZeroUsize::new(2 * COUNT).unwrap();
    let many = Settings { connections: room, fresh: room, ..settings() };
    let fixture = Fixture::start(many).await;
    Client::greeted(&fixture).await;
    let before = resident();
    let mut plain = Vec::new();
    for _ in 0..COUNT {
        plain.push(Client::greeted(&fixture).await);
    }
    let each = resident().saturating_sub(before) / COUNT;
    println!("plain: {each} octets each");
    assert!(each < 16 * 1024, "{each} octets");
    let before = resident();
    let mut encrypted = Vec::new();
    for mut client in plain {
        client.say("STARTTLS\r\n").await;
        let mut client =
            Client { stream: fixture.handshake(client.stream).await.unwrap(), input: Vec::new() };
        client.say("EHLO client.example\r\n").await;
        encrypted.push(client);
    }
    println!("TLS: {} octets more each, both ends", resident().saturating_sub(before) / COUNT);
}

/// A write-only spool file and queued's own way to read it.
fn spool_file() -> io::Result<(OwnedFd, std::fs::File)> {
    let file = tempfile::NamedTempFile::new()?;
    let reader = std::fs::File::open(file.path())?;
    let writer = std::fs::OpenOptions::new().write(true).open(file.path())?;
    Ok((writer.into(), reader))
}
