//! What the tests of the channels share: a channel with a short deadline, fds that can be told apart, raw peers.
#![allow(dead_code)]

use std::{
    fs::File,
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    time::Duration,
};

use ipc_proto::{
    ChannelId, ConnectionId, DeliveryId,
    authd::{AdminToAuthd, AuthdToAdmin},
    blocking::send_some,
    channel::{Channel, Message},
    delivery::{Deliver, QueuedToSmtpd, SmtpdToQueued},
    frame::{self, Kind},
    types::Timestamp,
};

/// smtpd and queued with little patience.
#[derive(Debug)]
pub(crate) enum Quick {}

impl Channel for Quick {
    type Request = SmtpdToQueued;
    type Reply = QueuedToSmtpd;
    const ID: ChannelId = ChannelId::SmtpdQueued;
    const MAX_BODY: usize = 4096;
    const DEADLINE: Duration = Duration::from_millis(100);
}

/// The same, patient.
#[derive(Debug)]
pub(crate) enum Patient {}

impl Channel for Patient {
    type Request = SmtpdToQueued;
    type Reply = QueuedToSmtpd;
    const ID: ChannelId = ChannelId::SmtpdQueued;
    const MAX_BODY: usize = 4096;
    const DEADLINE: Duration = Duration::from_secs(20);
}

/// A request that carries one fd.
pub(crate) fn deliver(size: u64) -> SmtpdToQueued {
    SmtpdToQueued::Deliver(Deliver {
        id: DeliveryId([7; 16]),
        connection: ConnectionId(1),
        reverse_path: None,
        recipients: Vec::new(),
        trace: Vec::new(),
        received: Timestamp { seconds: 0, nanoseconds: 0 },
        size,
        spool: None,
    })
}

/// A request that can be told from others; `echo` is its answer.
pub(crate) fn numbered(number: u64) -> AdminToAuthd {
    AdminToAuthd::AccountRemove(number.to_string())
}

pub(crate) fn echo(request: &AdminToAuthd) -> AuthdToAdmin {
    match request {
        AdminToAuthd::AccountRemove(text) => AuthdToAdmin::Refused(text.clone()),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn file_with(text: &str) -> OwnedFd {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.into()
}

pub(crate) fn text_of(fd: OwnedFd) -> String {
    let mut file = File::from(fd);
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    text
}

pub(crate) fn frame_of<M: Message>(kind: Kind, id: u64, message: &M) -> Vec<u8> {
    let mut octets = Vec::new();
    frame::encode(kind, id, message, 1 << 20, &mut octets).unwrap();
    octets
}

/// Sends all, the fds with the first octet. A peer that has already closed is no matter.
pub(crate) fn send(stream: &UnixStream, octets: &[u8], fds: &[OwnedFd]) {
    let mut sent = 0;
    while sent < octets.len() {
        match send_some(stream, &octets[sent..], if sent == 0 { fds } else { &[] }) {
            Ok(more) => sent += more,
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                return;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Reads until the other end closes; panics if it does not.
pub(crate) fn read_to_the_end(mut stream: &UnixStream) -> Vec<u8> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (mut all, mut space) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut space) {
            Ok(0) => return all,
            Ok(octets) => all.extend_from_slice(&space[..octets]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return all,
            Err(error) => panic!("not closed: {error}"),
        }
    }
}

/// Takes the greeting and the first request off the wire.
pub(crate) fn read_first_request(mut stream: &UnixStream) {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut greeting = vec![0; frame::hello(ChannelId::SmtpdQueued).len()];
    stream.read_exact(&mut greeting).unwrap();
    read_request(stream);
}

/// Takes one request off the wire: its id.
pub(crate) fn read_request(mut stream: &UnixStream) -> u64 {
    let mut header = [0; frame::HEADER];
    stream.read_exact(&mut header).unwrap();
    let mut body = vec![0; u32::from_le_bytes(*header.first_chunk().unwrap()) as usize];
    stream.read_exact(&mut body).unwrap();
    u64::from_le_bytes(*header.last_chunk().unwrap())
}

/// A pipe's two ends: the first reads `Ok(0)` once every copy of the second is closed.
pub(crate) fn witness() -> (UnixStream, OwnedFd) {
    let (mine, theirs) = UnixStream::pair().unwrap();
    mine.set_nonblocking(true).unwrap();
    (mine, theirs.into())
}

/// Whether every copy of a witness's second end is closed.
pub(crate) fn is_closed(mut witness: &UnixStream) -> bool {
    matches!(witness.read(&mut [0]), Ok(0))
}
