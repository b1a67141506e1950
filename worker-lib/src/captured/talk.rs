//! What a captured process says on a channel in the role's place. A channel whose rules it broke is made anew; the new one
//! it keeps from the role, so that all answers, or all questions, are its own.
//!
//! ```text
//!   keep CHANNEL                             the next one is the attacker's
//!   ask CHANNEL ID BODY [FD]                 a request, and its answer
//!   ask-again CHANNEL TIMES ID BODY          the same so many times; the first answer that is unlike the first of all
//!   drown CHANNEL MILLISECONDS BODY          requests, no answer read: the errno once nothing goes in any more
//!   answer CHANNEL HOW BODY                  answers the first question on the next one so
//!   leave CHANNEL                            breaks the rules once more; the next one is the role's
//! ```
//! FD: `memory:OCTETS` (sealed), `unsealed:OCTETS`, `file:PATH:OCTETS` (opened for reading), `writable:PATH:OCTETS`, `log`.

use std::{
    io::{ErrorKind, Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use ipc_proto::{
    ChannelId,
    frame::{self, Kind},
};

use super::{
    attempt::{LOG_FD, NOT_TRIED, octets},
    lock, sys,
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// An answer is told in pieces of up to three octets: this, the count, the octets.
const PIECE: i32 = 0x1000_0000;

/// What there is instead of an answer.
const DROPPED: i32 = 0x2000_0000;
const CLOSED: i32 = 0x2000_0001;
const SILENCE: i32 = 0x2000_0002;

/// More than any queue holds.
const MOST_REQUESTS: u32 = 5_000_000;

/// Channels to keep from the role when they come, and what for.
static WANTED: Mutex<Vec<(String, Plan)>> = Mutex::new(Vec::new());

/// Those that came.
static KEPT: Mutex<Vec<(String, UnixStream)>> = Mutex::new(Vec::new());

#[derive(Debug, Clone)]
pub(super) enum Plan {
    /// To ask on.
    Ask,
    /// To answer the first question on.
    Answer(How, Vec<u8>),
}

/// How to answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum How {
    /// With the body as it is.
    Plain,
    /// Twice.
    Twice,
    /// With an fd that the answer does not carry.
    WithFd,
    /// To a question that was not asked.
    Astray,
    /// With a length that no channel allows.
    Huge,
}

impl How {
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "plain" => Some(Self::Plain),
            "twice" => Some(Self::Twice),
            "with-fd" => Some(Self::WithFd),
            "astray" => Some(Self::Astray),
            "huge" => Some(Self::Huge),
            _ => None,
        }
    }
}

impl Plan {
    pub(super) const fn asks(&self) -> bool {
        matches!(self, Self::Ask)
    }
}

/// What this one was wanted for; the one behind it is not wanted for that any more.
pub(super) fn plan(channel: ChannelId) -> Option<Plan> {
    let mut wanted = lock(&WANTED);
    let at = wanted.iter().position(|(name, _)| *name == format!("{channel:?}"))?;
    Some(wanted.remove(at).1)
}

/// The attacker's from here on.
pub(super) fn take(channel: ChannelId, mut stream: UnixStream, plan: &Plan) {
    let _ = stream.set_nonblocking(false);
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let _ = stream.write_all(&frame::hello(channel));
    match plan {
        Plan::Ask => lock(&KEPT).push((format!("{channel:?}"), stream)),
        // The role's own thread goes on: what makes the question may need it.
        Plan::Answer(how, body) => {
            let (how, body) = (*how, body.clone());
            let _ = thread::Builder::new().spawn(move || answer_first(&mut stream, how, &body));
        }
    }
}

/// `None`: a line of other kind.
pub(super) fn run(words: &[&str]) -> Option<Vec<i32>> {
    match *words {
        ["keep", name] => {
            lock(&WANTED).push((name.to_owned(), Plan::Ask));
            Some(vec![0])
        }
        ["answer", name, how, body] => {
            lock(&WANTED).push((name.to_owned(), Plan::Answer(How::from_word(how)?, octets(body)?)));
            Some(vec![0])
        }
        ["ask", name, id, body] => {
            on_kept(name, |stream| ask(stream, id.parse().ok()?, &octets(body)?, None))
        }
        ["ask", name, id, body, fd] => {
            on_kept(name, |stream| ask(stream, id.parse().ok()?, &octets(body)?, Some(fd)))
        }
        ["ask-again", name, times, id, body] => {
            on_kept(name, |stream| ask_again(stream, times.parse().ok()?, id.parse().ok()?, &octets(body)?))
        }
        ["drown", name, hold, body] => on_kept(name, |stream| {
            Some(vec![drown(stream, Duration::from_millis(hold.parse().ok()?), &octets(body)?)])
        }),
        ["leave", name] => {
            let mut kept = lock(&KEPT);
            // All but the newest are broken already.
            let last = kept.iter().rposition(|(of, _)| of == name).map(|at| kept.remove(at));
            kept.retain(|(of, _)| of != name);
            let Some((_, mut stream)) = last else { return Some(vec![NOT_TRIED]) };
            leave(&mut stream);
            Some(vec![0])
        }
        _ => None,
    }
}

fn on_kept(name: &str, what: impl FnOnce(&mut UnixStream) -> Option<Vec<i32>>) -> Option<Vec<i32>> {
    match lock(&KEPT).iter_mut().rev().find(|(of, _)| of == name) {
        Some((_, stream)) => what(stream),
        None => Some(vec![NOT_TRIED]),
    }
}

/// One frame: length, fds, kind, id, body.
fn framed(kind: Kind, id: u64, fds: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&length.to_le_bytes()[..], &[fds, kind as u8], &id.to_le_bytes(), body].concat()
}

fn ask(stream: &mut UnixStream, id: u64, body: &[u8], fd: Option<&str>) -> Option<Vec<i32>> {
    let sent = match fd {
        None => stream.write_all(&framed(Kind::Request, id, 0, body)).is_ok(),
        Some(fd) => {
            let (number, made) = attached(fd)?;
            let errno = sys::send_fd(stream.as_raw_fd(), &framed(Kind::Request, id, 1, body), number);
            if made {
                sys::close(number);
            }
            errno == 0
        }
    };
    if !sent {
        return Some(vec![CLOSED]);
    }
    Some(answered(stream))
}

fn answered(stream: &mut UnixStream) -> Vec<i32> {
    match next(stream) {
        Ok((kind, _, body)) if kind == Kind::Reply as u8 => pieces(&body),
        Ok(_) => vec![DROPPED],
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => vec![SILENCE],
        Err(_) => vec![CLOSED],
    }
}

/// Asks at once what a channel holds of it, for more questions in a second than one by one would be. The first answer that
/// is unlike the first of all, or the last.
fn ask_again(stream: &mut UnixStream, times: u32, id: u64, body: &[u8]) -> Option<Vec<i32>> {
    const AT_ONCE: u32 = 64;
    let frames = framed(Kind::Request, id, 0, body).repeat(usize::try_from(AT_ONCE).ok()?);
    let mut first = None;
    for _ in 0..times.div_ceil(AT_ONCE) {
        if stream.write_all(&frames).is_err() {
            return Some(vec![CLOSED]);
        }
        let mut other = None;
        for _ in 0..AT_ONCE {
            let answer = answered(stream);
            if *first.get_or_insert_with(|| answer.clone()) != answer {
                other = Some(answer);
            }
        }
        if other.is_some() {
            return other;
        }
    }
    first
}

/// The next frame that is no greeting: its kind, id and body. Fds that came with it are gone.
fn next(stream: &mut UnixStream) -> std::io::Result<(u8, u64, Vec<u8>)> {
    loop {
        let mut header = [0; frame::HEADER];
        stream.read_exact(&mut header)?;
        let [l0, l1, l2, l3, _, kind, id @ ..] = header;
        let mut body = vec![0; usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or_default()];
        stream.read_exact(&mut body)?;
        if kind != Kind::Hello as u8 {
            return Ok((kind, u64::from_le_bytes(id), body));
        }
    }
}

fn pieces(body: &[u8]) -> Vec<i32> {
    if body.is_empty() {
        return vec![PIECE];
    }
    body.chunks(3)
        .map(|piece| {
            let count = i32::try_from(piece.len()).unwrap_or_default();
            let octets = piece.iter().fold(0, |all, octet| all << 8 | i32::from(*octet));
            PIECE | count << 24 | octets
        })
        .collect()
}

/// An fd to send, and whether it was made for that.
fn attached(what: &str) -> Option<(i32, bool)> {
    let mut words = what.split(':');
    let fd = match (words.next()?, words.next(), words.next()) {
        ("log", None, None) => return Some((LOG_FD, false)),
        ("memory", Some(digits), None) => sys::memory_file(&octets(digits)?, true),
        ("unsealed", Some(digits), None) => sys::memory_file(&octets(digits)?, false),
        ("file", Some(path), Some(digits)) => sys::file(path, &octets(digits)?, false),
        ("writable", Some(path), Some(digits)) => sys::file(path, &octets(digits)?, true),
        _ => return None,
    };
    Some((fd, true))
}

/// Until the peer takes no more for so long.
fn drown(stream: &UnixStream, hold: Duration, body: &[u8]) -> i32 {
    let frames = framed(Kind::Request, 1, 0, body).repeat(16);
    let mut rest: &[u8] = &frames;
    let _ = stream.set_nonblocking(true);
    let mut full = None;
    let mut outcome = 0;
    for _ in 0..MOST_REQUESTS {
        match (&*stream).write(rest) {
            Ok(sent) => {
                full = None;
                rest = rest.get(sent..).filter(|rest| !rest.is_empty()).unwrap_or(&frames);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if full.get_or_insert_with(Instant::now).elapsed() > hold {
                    outcome = libc::EAGAIN;
                    break;
                }
                thread::sleep(Duration::from_millis(5));
            }
            Err(error) => {
                outcome = error.raw_os_error().unwrap_or(NOT_TRIED);
                break;
            }
        }
    }
    let _ = stream.set_nonblocking(false);
    outcome
}

/// Reads what is there, so that the peer reads too, and then sends it what is no frame.
fn leave(stream: &mut UnixStream) {
    let _ = stream.set_nonblocking(true);
    let mut garbage: &[u8] = &[0xff; 4096];
    let started = Instant::now();
    let mut space = [0; 4096];
    while started.elapsed() < PATIENCE {
        while matches!(stream.read(&mut space), Ok(1..)) {}
        match stream.write(garbage) {
            Ok(sent) => garbage = garbage.get(sent..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(5)),
            Err(_) => return,
        }
        if garbage.is_empty() {
            // Its end says that it was read.
            let _ = stream.set_nonblocking(false);
            while matches!(stream.read(&mut space), Ok(1..)) {}
            return;
        }
    }
}

fn answer_first(stream: &mut UnixStream, how: How, body: &[u8]) {
    // However long nobody asks.
    let _ = stream.set_read_timeout(None);
    let Ok((_, id, _)) = next(stream) else { return };
    let answer = |id| framed(Kind::Reply, id, 0, body);
    let _ = match how {
        How::Plain => stream.write_all(&answer(id)),
        How::Twice => stream.write_all(&[answer(id), answer(id)].concat()),
        How::Astray => stream.write_all(&answer(id.wrapping_add(1000))),
        How::Huge => {
            let mut answer = answer(id);
            answer.splice(..4, u32::MAX.to_le_bytes());
            stream.write_all(&answer)
        }
        How::WithFd => {
            sys::send_fd(stream.as_raw_fd(), &framed(Kind::Reply, id, 1, body), LOG_FD);
            Ok(())
        }
    };
    // The peer closes it, or it is given back.
    let mut space = [0; 4096];
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    while matches!(stream.read(&mut space), Ok(1..)) {}
    leave(stream);
}
